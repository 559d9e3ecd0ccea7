"""What a fitted convolutional network consists of, and the check that one is whole.

How its arrays follow from the state that training goes on from is checked too, up to
rounding.
"""

import math
from typing import Any

import numpy as np

from mtrl_sklearn._conv.descent import SOLVERS
from mtrl_sklearn._conv.patches import PatchGrid, make_patch_grid
from mtrl_sklearn._training.fitted_forms import (
    COMMON,
    OPTIONAL,
    SCALING,
    Arrays,
    adam,
    agree,
    check_arrays,
    check_seed,
    check_state,
    count_scores,
    demand,
    demand_same,
    take,
    take_sizes,
)
from mtrl_sklearn._training.fitted_values import improper

CONV_PARAMETERS = {
    "filters": "float filters patch",
    "biases": "float filters",
    "head_coef": "float all_scores pooled",
    "head_intercept": "float all_scores",
}
CONV = COMMON | {"classes_": "class classes", "tasks_": "class tasks"}
CONV |= {"columns_": "label tasks"}


def check_conv(fitted: dict[str, Any]) -> None:
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
        take(arrays, "_head_"),
        take(arrays, "solver_"),
        take(arrays, "power_"),
        take(arrays, "scale_"),
        take(arrays, "_state_"),
        take(arrays, "_seed_"),
    )
    demand(head in ("shared", "fixed", "per_task"), "_head_", head)
    demand(isinstance(solver, str) and solver in SOLVERS, "solver_", solver)
    demand(type(power) is float and 1 <= power < np.inf, "power_", power)
    demand(type(scale) is float and 0 < scale < np.inf, "scale_", scale)
    check_seed(seed)

    sizes = take_sizes(arrays, {"n_features_in_": "features", "n_iter_": "epochs"})
    n_inputs = math.prod(grid.input_shape)
    demand_same("n_features_in_", "inputs", n_inputs, sizes["features"])
    axes = {f"filter_axis{k}": n for k, n in enumerate(grid.filter_shape)}
    of_task = "tasks " if head == "per_task" else ""
    forms = CONV | {
        "filters_": " ".join(["weight filters", *axes]),
        "biases_": "weight filters",
        "head_coef_": f"weight {of_task}scores pooled",
        "head_intercept_": f"weight {of_task}scores",
    }
    sizes |= axes
    check_arrays(arrays, forms, sizes, OPTIONAL | {"columns_"})
    demand(sizes["tasks"] > 0, "tasks_", "none")
    if "columns_" in arrays:
        columns = arrays["columns_"]
        demand(of_task, "columns_", f"columns with head={head!r}")
        same = np.array_equal(np.unique(columns), arrays["tasks_"])
        demand(same, "columns_", columns)
    n_scores = count_scores(sizes["classes"])
    demand_same("classes_", "scores", sizes["scores"], n_scores)
    n_pooled = grid.n_cells * sizes["filters"]
    demand_same("head_coef_", "columns", n_pooled, sizes["pooled"])

    sizes["patch"] = grid.patch_dim
    sizes["all_scores"] = sizes["scores"] * (sizes["tasks"] if of_task else 1)
    scaling = {"input_mean": "float", "input_scale": "scale"}
    groups = [adam(name, form) for name, form in CONV_PARAMETERS.items()]
    if SOLVERS[solver].is_full_batch:
        groups = [{"optimizer.filters.step_size": "scale"}]
    forms = CONV_PARAMETERS | scaling | {"generator": "byte generator"}
    check_state(state, forms, groups + SCALING, sizes)
    _check_relations(fitted, state)


def _check_relations(fitted: Arrays, state: Arrays) -> None:
    """Check that the convolutional network is that of its state.

    Raises
    ------
    Refusal
        If an array is another one.
    """
    for name in ("filters", "head_coef", "head_intercept"):
        found = fitted[f"{name}_"]
        expected = state[name].reshape(found.shape)
        agree(f"{name}_", found, expected, np.abs(expected))
    scale, filters = state["input_scale"], state["filters"]
    agree("scale_", np.asarray(fitted["scale_"]), scale, scale)
    shift = state["input_mean"] / scale
    sizes = np.abs(state["biases"]) + np.abs(shift) * np.abs(filters).sum(axis=1)
    expected = state["biases"] - shift * filters.sum(axis=1)
    agree("biases_", fitted["biases_"], expected, sizes)


def _take_grid(fitted: dict[str, Any]) -> PatchGrid:
    names = ("input_shape_", "kernel_size_", "stride_", "pooling_")
    shape, *rest = (take(fitted, name) for name in names)
    demand(_are_lengths(shape) and 1 <= len(shape) <= 3, "input_shape_", shape)
    for name, found in zip(names[1:], rest):
        is_name = name == "pooling_" and found in ("sum", "mean")
        demand(is_name or _are_lengths(found), name, found)
    grid = PatchGrid(shape, *rest)
    try:
        demand(make_patch_grid(shape, *rest) == grid, "input_shape_", shape)
    except ValueError:
        raise improper("input_shape_", "one that filters fit in", shape) from None
    return grid


def _are_lengths(found: Any) -> bool:
    return isinstance(found, tuple) and all(type(n) is int and n > 0 for n in found)
