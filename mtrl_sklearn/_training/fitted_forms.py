"""What fitted estimators consist of, and checks that one is whole.

A form is a kind of values and the axes of an array, such as "weight hidden features".
Axes of the same name have the same length in all arrays of an estimator.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from mtrl_sklearn._files.arrays import Refusal
from mtrl_sklearn._training.fitted_values import check_kind, improper
from mtrl_sklearn._training.input_scale import WAITING
from mtrl_sklearn._training.prior import ProbePrior

Forms = dict[str, str]
Sizes = dict[str, Any]  # lengths of axes
Arrays = Mapping[str, Any]

COMMON = {
    "feature_names_in_": "name features",
    "loss_curve_": "float epochs",
    "validation_scores_": "score scored_epochs",
}
OPTIONAL = {"feature_names_in_", "validation_scores_"}

SCALING = [{WAITING: "float"}]


def count_scores(n_classes: int) -> int:
    """Number of scores of classes; a single one tells two apart."""
    demand(n_classes >= 2, "classes_", f"{n_classes} of them")
    return 1 if n_classes == 2 else n_classes


def demand(is_right: Any, name: str, found: Any) -> None:
    if not is_right:
        raise improper(name, "what fit gives it", found)


def demand_same(name: str, what: str, expected: Any, found: Any) -> None:
    if expected != found:
        raise improper(name, f"{expected!s:.80} as its {what}", found)


def demand_most(name: str, what: str, most: int, found: int) -> None:
    if found > most:
        raise improper(name, f"at most {most} {what}", found)


def take(found: dict[str, Any], name: str) -> Any:
    demand(name in found, name, "nothing")
    return found.pop(name)


def check_seed(seed: Any) -> None:
    demand(type(seed) is int and 0 <= seed < 2**31, "_seed_", seed)


def check_prior(name: str, found: Any) -> None:
    """Check that a value is a prior of probes as a dict, or None."""
    if found is None:
        return
    demand(isinstance(found, dict), name, found)
    try:
        ProbePrior(**found)
    except (TypeError, ValueError):
        raise improper(name, "the prior of a probe", found) from None
    for value in found.values():
        demand(type(value) is float, name, value)


def take_sizes(found: dict[str, Any], axes: Mapping[str, str]) -> Sizes:
    """Lengths of axes that attributes state; takes these out of what was found."""
    sizes: Sizes = {}
    for name, axis in axes.items():
        sizes[axis] = take(found, name)
        demand(type(sizes[axis]) is int and sizes[axis] >= 0, name, sizes[axis])
    return sizes


def check_arrays(
    found: Mapping[str, Any],
    forms: Forms,
    sizes: Sizes,
    optional: Iterable[str] = (),
    prefix: str = "",
) -> None:
    """Check that arrays are those of the forms; adds lengths of axes to ``sizes``."""
    for name in set(forms) - set(optional) - set(found):
        raise improper(prefix + name, "an array", "nothing")
    for key, array in found.items():
        if key not in forms:
            raise Refusal(f"holds {key!r:.60}, which is not known here")
        name, (kind, *axes) = prefix + key, forms[key].split()
        check_kind(name, array, kind, len(axes))
        for axis, size in zip(axes, array.shape):
            demand_same(name, axis, sizes.setdefault(axis, size), size)
        if kind == "weight":
            dtype = sizes.setdefault("dtype", array.dtype)
            demand_same(name, "dtype", dtype, array.dtype)
    n_epochs = sizes.get("epochs", math.inf)
    n_scored = sizes.get("scored_epochs", 0)
    demand_most("validation_scores_", "epochs", n_epochs, n_scored)


def adam(name: str, form: str) -> Forms:
    """What AdamW keeps of a parameter, from its first step on."""
    _, _, axes = form.partition(" ")
    kinds = {"exp_avg": "float", "exp_avg_sq": "moment"}
    moments = {f"optimizer.{name}.{key}": f"{k} {axes}" for key, k in kinds.items()}
    return {f"optimizer.{name}.step": "steps", **moments}


def check_state(state: Any, forms: Forms, groups: list[Forms], sizes: Sizes) -> None:
    """Check what a fit goes on from: forms, and groups that are there or not."""
    demand(isinstance(state, dict), "_state_", state)
    for group in groups:
        missing = sorted(group.keys() - state.keys())
        is_whole = len(missing) in (0, len(group))
        demand(is_whole, "_state_", f"no {', '.join(missing)}")
    optional: Forms = {}
    for group in groups:
        optional |= group
    check_arrays(state, forms | optional, sizes, optional, "_state_.")
    generator = torch.Generator()
    if "generator" in state and len(state["generator"]) == len(generator.get_state()):
        try:
            generator.set_state(torch.tensor(state["generator"]))
        except RuntimeError:
            expected = "the state of a random generator"
            raise improper("_state_.generator", expected, "other bytes") from None


def agree(name: str, found: Any, expected: Any, size: Any) -> None:
    """Whether two arrays differ by no more than rounding of numbers of a size."""
    information = np.finfo(found.dtype)
    rounding = np.sqrt(information.eps) * np.asarray(size, dtype=float)
    is_right = np.abs(found - expected) <= rounding + information.tiny
    if not np.all(is_right):
        place = np.argmin(is_right)
        pair = [
            np.broadcast_to(a, is_right.shape).flat[place] for a in (expected, found)
        ]
        what = f"what follows from _state_, {pair[0]:.6g}"
        raise improper(name, what, f"{pair[1]:.6g}")
