"""What fitted estimators consist of, and the check that one is whole.

A form is a kind of values and the axes of an array, such as "weight hidden features".
Axes of the same name have the same length in all arrays of an estimator.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from mtrl_sklearn._conv.patches import PatchGrid, make_patch_grid
from mtrl_sklearn._files.arrays import Refusal
from mtrl_sklearn._labels.encoding import LabelEncoding
from mtrl_sklearn._training.input_scale import WAITING
from mtrl_sklearn.persistence._fitted_relations import (
    check_conv_relations,
    check_relu_relations,
)
from mtrl_sklearn.persistence._fitted_values import check_kind, improper

Forms = dict[str, str]
Sizes = dict[str, Any]  # lengths of axes

COMMON = {
    "feature_names_in_": "name features",
    "loss_curve_": "float epochs",
    "validation_scores_": "score scored_epochs",
}
OPTIONAL = {"feature_names_in_", "validation_scores_"}

RELU_PARAMETERS = {
    "hidden_weights": "weight hidden features",
    "hidden_biases": "weight hidden",
    "task_coef": "weight tasks hidden",
    "task_intercept": "weight tasks",
}
RELU = COMMON | {
    **{f"{name}_": form for name, form in RELU_PARAMETERS.items()},
    "components_": "weight components features",
    "singular_values_": "spectrum values",
    "n_positive_": "count tasks",
    "n_negative_": "count tasks",
    "task_names_": "label tasks",
    "output_names_": "label outputs",
}
ONE_STEP = {
    "start": "float hidden features",
    "task_coef": "float tasks hidden",
    "step": "float hidden features",
}
MOMENTS = {  # of features that are not negative
    "moments.second": "moment hidden hidden",
    "moments.positive": "moment tasks hidden",
    "moments.negative": "moment tasks hidden",
    "moments.n_positive": "moment tasks",
    "moments.n_negative": "moment tasks",
}

SCALING = [{WAITING: "float"}]

CONV_PARAMETERS = {
    "filters": "float filters patch",
    "biases": "float filters",
    "head_coef": "float all_scores pooled",
    "head_intercept": "float all_scores",
}
# What fine-tuning moves.
FIRST_LAYER = ("hidden_weights_", "hidden_biases_", "filters_", "biases_")
CONV = COMMON | {"classes_": "class classes", "tasks_": "class tasks"}


def check_relu(estimator: Any, fitted: dict[str, Any]) -> None:
    """Check the fitted attributes of a MultiTaskReLURepresentation.

    Raises
    ------
    Refusal
        If one is missing, unknown, of another type, dtype or shape, holds what no fit
        gives it, or contradicts another one.
    """
    arrays, rest = dict(fitted), {}
    for name in ("label_form_", "classes_", "_state_", "_seed_"):
        rest[name] = _take(arrays, name)
    counts = {
        "n_features_in_": "features",
        "n_components_": "components",
        "n_tasks_": "tasks",
        "n_iter_": "epochs",
    }
    sizes = _check_counts(arrays, counts)
    _check_arrays(arrays, RELU, sizes, OPTIONAL)
    _check_seed(rest["_seed_"])
    most = min(sizes["hidden"], sizes["features"])
    _demand_same("singular_values_", "length", most, sizes["values"])
    _demand_most("components_", "rows", most, sizes["components"])
    _check_labels(rest["label_form_"], rest["classes_"], fitted)

    state = rest["_state_"]
    scaling = {"input_mean": "float features", "input_scale": "scale"}
    if isinstance(state, dict) and "start" in state:
        _check_state(state, ONE_STEP | scaling | MOMENTS, SCALING, sizes)
    else:
        forms = {k: f.replace("weight", "float") for k, f in RELU_PARAMETERS.items()}
        groups = [MOMENTS, *SCALING]
        groups += (_adam(name, form) for name, form in forms.items())
        if sizes["components"] < most:  # heads follow from them
            forms |= MOMENTS
        forms |= scaling | {"generator": "byte generator"}
        _check_state(state, forms, groups, sizes)
    check_relu_relations(fitted, state)


def _check_labels(form: Any, classes: Any, fitted: dict[str, Any]) -> None:
    """Check form, classes and names of the tasks that labels are split into."""
    _demand(form in ("single", "wide", "long"), "label_form_", form)
    outputs, names = fitted["output_names_"], fitted["task_names_"]
    classes = [classes] if form == "single" else classes
    _demand(isinstance(classes, list), "classes_", classes)
    _demand_same("classes_", "outputs", len(outputs), len(classes))
    for found in {id(found): found for found in classes}.values():  # many share theirs
        check_kind("classes_", found, "class", 1)
    if form == "long":
        check_kind("output_names_", outputs, "class", 1)
    encoding = LabelEncoding(form, outputs, classes)
    _demand_same("classes_", "tasks", len(names), encoding.n_tasks)
    expected = repr(encoding.task_names.tolist())
    _demand_same("task_names_", "names", expected, repr(names.tolist()))


def check_conv(estimator: Any, fitted: dict[str, Any]) -> None:
    """Check the fitted attributes of a ConvMultiTaskClassifier.

    Raises
    ------
    Refusal
        If one is missing, unknown, of another type, dtype or shape, holds what no fit
        gives it, or contradicts another one.
    """
    arrays = dict(fitted)
    grid, head, solver, power, scale, state, seed = (
        _take_grid(arrays),
        _take(arrays, "_head_"),
        _take(arrays, "solver_"),
        _take(arrays, "power_"),
        _take(arrays, "scale_"),
        _take(arrays, "_state_"),
        _take(arrays, "_seed_"),
    )
    _demand(head in ("shared", "fixed", "per_task"), "_head_", head)
    _demand(solver in ("gd", "adam"), "solver_", solver)
    _demand(type(power) is float and 1 <= power < np.inf, "power_", power)
    _demand(type(scale) is float and 0 < scale < np.inf, "scale_", scale)
    _check_seed(seed)

    sizes = _check_counts(arrays, {"n_features_in_": "features", "n_iter_": "epochs"})
    n_inputs = math.prod(grid.input_shape)
    _demand_same("n_features_in_", "inputs", n_inputs, sizes["features"])
    axes = {f"filter_axis{k}": n for k, n in enumerate(grid.filter_shape)}
    of_task = "tasks " if head == "per_task" else ""
    forms = CONV | {
        "filters_": " ".join(["weight filters", *axes]),
        "biases_": "weight filters",
        "head_coef_": f"weight {of_task}scores pooled",
        "head_intercept_": f"weight {of_task}scores",
    }
    sizes |= axes
    _check_arrays(arrays, forms, sizes, OPTIONAL)
    _demand(sizes["tasks"] > 0, "tasks_", "none")
    n_scores = _count_scores(sizes["classes"])
    _demand_same("classes_", "scores", sizes["scores"], n_scores)
    n_pooled = grid.n_cells * sizes["filters"]
    _demand_same("head_coef_", "columns", n_pooled, sizes["pooled"])

    sizes["patch"] = grid.patch_dim
    sizes["all_scores"] = sizes["scores"] * (sizes["tasks"] if of_task else 1)
    scaling = {"input_mean": "float", "input_scale": "scale"}
    groups = [_adam(name, form) for name, form in CONV_PARAMETERS.items()]
    if solver == "gd":
        groups = [{"optimizer.filters.step_size": "scale"}]
    forms = CONV_PARAMETERS | scaling | {"generator": "byte generator"}
    _check_state(state, forms, groups + SCALING, sizes)
    check_conv_relations(fitted, state)


def check_probe(estimator: Any, fitted: dict[str, Any]) -> None:
    """Check the fitted attributes of a LinearProbe.

    Raises
    ------
    Refusal
        If one is missing, unknown, of another type, dtype or shape, holds what no fit
        gives it, or contradicts another one, or the representation.
    """
    from mtrl_sklearn.probing._blocks import BLOCKS

    arrays = dict(fitted)
    weights, C, coef = (_take(arrays, name) for name in ("weights_", "C_", "coef_"))
    layer, representation = (
        _take(arrays, name) for name in ("first_layer_", "representation_")
    )
    for name, found in (
        ("weights_", weights),
        ("coef_", coef),
        ("first_layer_", layer),
    ):
        _demand(isinstance(found, dict), name, found)
    _demand({*weights} <= {*BLOCKS}, "weights_", [*weights])
    for weight in weights.values():
        _demand(type(weight) is float and 0 <= weight <= 1, "weights_", weight)
    total = sum(weights.values())
    _demand(abs(total - 1) < 1e-9, "weights_", f"a sum of {total}")
    _demand(type(C) is float and 0 < C < np.inf, "C_", C)
    used = {name for name, weight in weights.items() if weight > 0}
    _demand_same("coef_", "blocks", sorted(used), sorted(map(str, coef)))

    sizes: Sizes = {}
    if "n_features_in_" in arrays:
        sizes = _check_counts(arrays, {"n_features_in_": "features"})
    forms = {
        "classes_": "class classes",
        "intercept_": "float scores",
        "feature_names_in_": "name features",
    }
    _check_arrays(arrays, forms, sizes, OPTIONAL)
    widths = _count_columns(representation, sizes)
    _demand({*weights} == {*widths}, "weights_", [*weights])
    columns = {f"{name}_columns": width for name, width in widths.items()}
    forms = {name: f"float scores {name}_columns" for name in coef}
    _check_arrays(coef, forms, sizes | columns, prefix="coef_.")
    n_scores = _count_scores(sizes["classes"])
    _demand_same("intercept_", "scores", n_scores, sizes["scores"])

    start = {} if representation is None else vars(representation)
    for name, array in layer.items():
        is_known = name in FIRST_LAYER and name in start
        _demand(is_known, "first_layer_", name)
        check_kind("first_layer_", array, "float", start[name].ndim)
        _demand_same("first_layer_", "shape", start[name].shape, array.shape)


def _count_columns(representation: Any, sizes: Sizes) -> dict[str, int]:
    """Columns of the blocks of features that a probe sees."""
    if representation is None:
        _demand("features" in sizes, "n_features_in_", "none")
        return {"inputs": sizes["features"]}
    is_network = hasattr(representation, "transform")
    _demand(is_network, "representation_", representation)
    fitted = vars(representation)
    _demand("n_features_in_" in fitted, "representation_", "one that was not fitted")
    intercept = "task_intercept_" if "task_intercept_" in fitted else "head_intercept_"
    n_inputs = fitted["n_features_in_"]
    seen = sizes.get("features", n_inputs)  # images show the number of their channels
    lengths = {n_inputs, *fitted.get("input_shape_", ())[:1]}
    _demand(seen in lengths, "n_features_in_", seen)
    return {
        "hidden": representation._n_features_out,
        "scores": fitted[intercept].size,
        "inputs": n_inputs,
    }


def _count_scores(n_classes: int) -> int:
    """Number of scores of classes; a single one tells two apart."""
    _demand(n_classes >= 2, "classes_", f"{n_classes} of them")
    return 1 if n_classes == 2 else n_classes


def _demand(is_right: Any, name: str, found: Any) -> None:
    if not is_right:
        raise improper(name, "what fit gives it", found)


def _demand_same(name: str, what: str, expected: Any, found: Any) -> None:
    if expected != found:
        raise improper(name, f"{expected!s:.80} as its {what}", found)


def _demand_most(name: str, what: str, most: int, found: int) -> None:
    if found > most:
        raise improper(name, f"at most {most} {what}", found)


def _take(found: dict[str, Any], name: str) -> Any:
    _demand(name in found, name, "nothing")
    return found.pop(name)


def _take_grid(fitted: dict[str, Any]) -> PatchGrid:
    names = ("input_shape_", "kernel_size_", "stride_", "pooling_")
    shape, *rest = (_take(fitted, name) for name in names)
    _demand(_are_lengths(shape) and 1 <= len(shape) <= 3, "input_shape_", shape)
    for name, found in zip(names[1:], rest):
        is_name = name == "pooling_" and found in ("sum", "mean")
        _demand(is_name or _are_lengths(found), name, found)
    grid = PatchGrid(shape, *rest)
    try:
        _demand(make_patch_grid(shape, *rest) == grid, "input_shape_", shape)
    except ValueError:
        raise improper("input_shape_", "one that filters fit in", shape) from None
    return grid


def _are_lengths(found: Any) -> bool:
    return isinstance(found, tuple) and all(type(n) is int and n > 0 for n in found)


def _check_seed(seed: Any) -> None:
    _demand(type(seed) is int and 0 <= seed < 2**31, "_seed_", seed)


def _check_counts(found: dict[str, Any], axes: Mapping[str, str]) -> Sizes:
    """Lengths of axes that attributes state; takes these out of what was found."""
    sizes: Sizes = {}
    for name, axis in axes.items():
        sizes[axis] = _take(found, name)
        _demand(type(sizes[axis]) is int and sizes[axis] >= 0, name, sizes[axis])
    return sizes


def _check_arrays(
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
            _demand_same(name, axis, sizes.setdefault(axis, size), size)
        if kind == "weight":
            dtype = sizes.setdefault("dtype", array.dtype)
            _demand_same(name, "dtype", dtype, array.dtype)
    n_epochs = sizes.get("epochs", math.inf)
    n_scored = sizes.get("scored_epochs", 0)
    _demand_most("validation_scores_", "epochs", n_epochs, n_scored)


def _adam(name: str, form: str) -> Forms:
    """What AdamW keeps of a parameter, from its first step on."""
    _, _, axes = form.partition(" ")
    kinds = {"exp_avg": "float", "exp_avg_sq": "moment"}
    moments = {f"optimizer.{name}.{key}": f"{k} {axes}" for key, k in kinds.items()}
    return {f"optimizer.{name}.step": "steps", **moments}


def _check_state(state: Any, forms: Forms, groups: list[Forms], sizes: Sizes) -> None:
    """Check what a fit goes on from: forms, and groups that are there or not."""
    _demand(isinstance(state, dict), "_state_", state)
    for group in groups:
        missing = sorted(group.keys() - state.keys())
        is_whole = len(missing) in (0, len(group))
        _demand(is_whole, "_state_", f"no {', '.join(missing)}")
    optional: Forms = {}
    for group in groups:
        optional |= group
    _check_arrays(state, forms | optional, sizes, optional, "_state_.")
    generator = torch.Generator()
    if "generator" in state and len(state["generator"]) == len(generator.get_state()):
        try:
            generator.set_state(torch.tensor(state["generator"]))
        except RuntimeError:
            expected = "the state of a random generator"
            raise improper("_state_.generator", expected, "other bytes") from None
