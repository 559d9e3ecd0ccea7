"""What fitted estimators consist of, and the check that one is whole.

A form is a kind of numbers and the axes of an array, such as "weight hidden features".
Axes of the same name have the same length in all arrays of an estimator.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from mtrl_sklearn._array_files import Refusal
from mtrl_sklearn._discriminant import ClassMoments
from mtrl_sklearn._patches import PatchGrid, make_patch_grid
from mtrl_sklearn._tasks import LabelEncoding

Forms = dict[str, str]
Sizes = dict[str, Any]  # lengths of axes

FLOATS = (np.dtype("f4"), np.dtype("f8"))
KINDS = {
    "weight": FLOATS,  # the same in all arrays of this kind
    "float": FLOATS,
    "int": (np.dtype("i4"), np.dtype("i8")),
    "byte": (np.dtype("u1"),),
    "name": (np.dtype("O"),),
}
LABELS = "biufUTO"  # of the kind "label": names, ids, classes

COMMON = {
    "feature_names_in_": "name features",
    "loss_curve_": "float epochs",
    "validation_scores_": "float scored_epochs",
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
    "singular_values_": "weight values",
    "n_positive_": "int tasks",
    "n_negative_": "int tasks",
    "task_names_": "label tasks",
    "output_names_": "label outputs",
}
ONE_STEP = {
    "start": "float hidden features",
    "task_coef": "float tasks hidden",
    "step": "float hidden features",
}
MOMENTS = dict(
    zip(
        (f"moments.{name}" for name in ClassMoments._fields),
        (
            "float hidden hidden",
            "float tasks hidden",
            "float tasks hidden",
            "float tasks",
            "float tasks",
        ),
    )
)

CONV_PARAMETERS = {
    "filters": "float filters patch",
    "biases": "float filters",
    "head_coef": "float all_scores pooled",
    "head_intercept": "float all_scores",
}
CONV = COMMON | {"classes_": "label classes", "tasks_": "label tasks"}


def check_relu(estimator: Any, fitted: dict[str, Any]) -> None:
    """Check the fitted attributes of a MultiTaskReLURepresentation.

    Raises
    ------
    Refusal
        If one is missing, unknown, or of another type, dtype or shape.
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

    form, classes = rest["label_form_"], rest["classes_"]
    classes = [classes] if form == "single" else classes
    _demand(form in ("single", "wide", "long"), "label_form_")
    _demand(
        isinstance(classes, list)
        and len(classes) == sizes["outputs"]
        and all(_is_array(found, "label", 1) for found in classes)
        and LabelEncoding(form, fitted["output_names_"], classes).n_tasks
        == sizes["tasks"],
        "classes_",
    )

    state = _take(rest, "_state_")
    scaling = {"input_mean": "float features", "input_scale": "float"}
    if isinstance(state, dict) and "start" in state:
        _check_state(state, ONE_STEP | scaling, [MOMENTS], sizes)
    else:
        forms = {k: f.replace("weight", "float") for k, f in RELU_PARAMETERS.items()}
        groups = [MOMENTS, *(_adam(name, form) for name, form in forms.items())]
        forms |= scaling | {"generator": "byte generator"}
        _check_state(state, forms, groups, sizes)


def check_conv(estimator: Any, fitted: dict[str, Any]) -> None:
    """Check the fitted attributes of a ConvMultiTaskClassifier.

    Raises
    ------
    Refusal
        If one is missing, unknown, or of another type, dtype or shape.
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
    _demand(head in ("shared", "fixed", "per_task"), "_head_")
    _demand(solver in ("gd", "adam"), "solver_")
    _demand(type(power) is float and 1 <= power < np.inf, "power_")
    _demand(type(scale) is float and 0 < scale < np.inf, "scale_")
    _check_seed(seed)

    sizes = _check_counts(arrays, {"n_features_in_": "features", "n_iter_": "epochs"})
    _demand(sizes["features"] == math.prod(grid.input_shape), "n_features_in_")
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
    _demand(sizes["tasks"] > 0, "tasks_")
    _demand(sizes["scores"] == _count_scores(sizes["classes"]), "classes_")
    _demand(sizes["pooled"] == grid.n_cells * sizes["filters"], "head_coef_")

    sizes["patch"] = grid.patch_dim
    sizes["all_scores"] = sizes["scores"] * (sizes["tasks"] if of_task else 1)
    scaling = {"input_mean": "float", "input_scale": "float"}
    groups = [_adam(name, form) for name, form in CONV_PARAMETERS.items()]
    if solver == "gd":
        groups = [{"optimizer.filters.step_size": "float"}]
    forms = CONV_PARAMETERS | scaling | {"generator": "byte generator"}
    _check_state(state, forms, groups, sizes)


def check_probe(estimator: Any, fitted: dict[str, Any]) -> None:
    """Check the fitted attributes of a LinearProbe.

    Raises
    ------
    Refusal
        If one is missing, unknown, or of another type, dtype or shape.
    """
    from mtrl_sklearn.probing._blocks import BLOCKS

    arrays = dict(fitted)
    weights, C, coef = (_take(arrays, name) for name in ("weights_", "C_", "coef_"))
    layer, representation = (
        _take(arrays, name) for name in ("first_layer_", "representation_")
    )
    for name, found in (("weights_", weights), ("coef_", coef)):
        _demand(isinstance(found, dict) and {*found} <= {*BLOCKS} and found, name)
    _demand(all(type(weight) is float for weight in weights.values()), "weights_")
    _demand(type(C) is float and C > 0, "C_")
    sizes: Sizes = {}
    if "n_features_in_" in arrays:
        sizes = _check_counts(arrays, {"n_features_in_": "features"})
    forms = {
        "classes_": "label classes",
        "intercept_": "float scores",
        "feature_names_in_": "name features",
    }
    _check_arrays(arrays, forms, sizes, OPTIONAL)
    _check_arrays(coef, {n: f"float scores {n}_columns" for n in coef}, sizes)
    _demand(sizes["scores"] == _count_scores(sizes["classes"]), "intercept_")

    start = {}
    if representation is not None:
        is_whole = hasattr(representation, "transform")
        _demand(
            is_whole and "n_features_in_" in vars(representation), "representation_"
        )
        start = vars(representation)
    names = ("hidden_weights_", "hidden_biases_", "filters_", "biases_")
    _demand(
        isinstance(layer, dict)
        and all(name in names and name in start for name in layer)
        and all(_is_array(a, "float", start[n].ndim) for n, a in layer.items())
        and all(array.shape == start[name].shape for name, array in layer.items()),
        "first_layer_",
    )


def _count_scores(n_classes: int) -> int:
    """Number of scores of classes; a single one tells two apart."""
    _demand(n_classes >= 2, "classes_")
    return 1 if n_classes == 2 else n_classes


def _demand(is_right: Any, name: str) -> None:
    if not is_right:
        raise Refusal(f"holds no proper {name}")


def _take(found: dict[str, Any], name: str) -> Any:
    _demand(name in found, name)
    return found.pop(name)


def _take_grid(fitted: dict[str, Any]) -> PatchGrid:
    names = ("input_shape_", "kernel_size_", "stride_", "pooling_")
    shape, *rest = (_take(fitted, name) for name in names)
    _demand(_are_lengths(shape) and 1 <= len(shape) <= 3, "input_shape_")
    for name, found in zip(names[1:], rest):
        is_name = name == "pooling_" and found in ("sum", "mean")
        _demand(is_name or _are_lengths(found), name)
    grid = PatchGrid(shape, *rest)
    try:
        _demand(make_patch_grid(shape, *rest) == grid, "input_shape_")
    except ValueError:
        _demand(False, "input_shape_")
    return grid


def _are_lengths(found: Any) -> bool:
    return isinstance(found, tuple) and all(type(n) is int and n > 0 for n in found)


def _check_seed(seed: Any) -> None:
    _demand(type(seed) is int and 0 <= seed < 2**31, "_seed_")


def _check_counts(found: dict[str, Any], axes: Mapping[str, str]) -> Sizes:
    """Lengths of axes that attributes state; takes these out of what was found."""
    sizes: Sizes = {}
    for name, axis in axes.items():
        sizes[axis] = _take(found, name)
        _demand(type(sizes[axis]) is int and sizes[axis] >= 0, name)
    return sizes


def _check_arrays(
    found: Mapping[str, Any], forms: Forms, sizes: Sizes, optional: Iterable[str] = ()
) -> None:
    """Check that arrays are those of the forms; adds lengths of axes to ``sizes``."""
    for name in set(forms) - set(optional) - set(found):
        _demand(False, name)
    for name, array in found.items():
        if name not in forms:
            raise Refusal(f"holds {name!r:.60}, which is not known here")
        kind, *axes = forms[name].split()
        _demand(_is_array(array, kind, len(axes)), name)
        for axis, size in zip(axes, array.shape):
            _demand(sizes.setdefault(axis, size) == size, name)
        if kind == "weight":
            _demand(sizes.setdefault("dtype", array.dtype) == array.dtype, name)


def _is_array(found: Any, kind: str, n_axes: int) -> bool:
    if not isinstance(found, np.ndarray) or found.ndim != n_axes:
        return False
    if kind == "label":
        return found.dtype.kind in LABELS
    of_text = kind != "name" or all(isinstance(name, str) for name in found)
    return of_text and found.dtype in KINDS[kind]


def _adam(name: str, form: str) -> Forms:
    """What AdamW keeps of a parameter, from its first step on."""
    moments = {f"optimizer.{name}.{key}": form for key in ("exp_avg", "exp_avg_sq")}
    return {f"optimizer.{name}.step": "float", **moments}


def _check_state(state: Any, forms: Forms, groups: list[Forms], sizes: Sizes) -> None:
    """Check what a fit goes on from: forms, and groups that are there or not."""
    _demand(isinstance(state, dict), "_state_")
    for group in groups:
        _demand(not 0 < len(state.keys() & group.keys()) < len(group), "_state_")
    optional: Forms = {}
    for group in groups:
        optional |= group
    _check_arrays(state, forms | optional, sizes, optional)
    generator = torch.Generator()
    if "generator" in state and len(state["generator"]) == len(generator.get_state()):
        try:
            generator.set_state(torch.tensor(state["generator"]))
        except RuntimeError:
            raise Refusal("holds no proper state of a generator") from None
