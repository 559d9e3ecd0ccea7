"""What a fitted LinearProbe consists of, and the check that one is whole."""

from typing import Any

import numpy as np

from mtrl_sklearn._labels.encoding import LabelEncoding
from mtrl_sklearn._training.fitted_forms import (
    OPTIONAL,
    Sizes,
    check_arrays,
    check_prior,
    count_scores,
    demand,
    demand_same,
    take,
    take_sizes,
)
from mtrl_sklearn._training.fitted_values import check_kind
from mtrl_sklearn.probing._blocks import BLOCKS


def check_probe(fitted: dict[str, Any]) -> None:
    """Check the fitted attributes of a LinearProbe.

    Raises
    ------
    Refusal
        If one is missing, unknown, of another type, dtype or shape, holds what no fit
        gives it, or contradicts another one, or the representation.
    """
    arrays = dict(fitted)
    weights, C, coef = (take(arrays, name) for name in ("weights_", "C_", "coef_"))
    prior = take(arrays, "prior_")
    check_prior("prior_", prior)
    n_tasks = None
    if "output_names_" in arrays:  # y had columns
        n_tasks = _count_tasks(take(arrays, "output_names_"), take(arrays, "classes_"))
    layer, representation = (
        take(arrays, name) for name in ("first_layer_", "representation_")
    )
    for name, found in (
        ("weights_", weights),
        ("coef_", coef),
        ("first_layer_", layer),
    ):
        demand(isinstance(found, dict), name, found)
    demand({*weights} <= {*BLOCKS}, "weights_", [*weights])
    for weight in weights.values():
        _demand_numbers("weights_", weight, n_tasks)
        is_share = np.all((np.asarray(weight) >= 0) & (np.asarray(weight) <= 1))
        demand(is_share, "weights_", weight)
    total = np.asarray(sum(weights.values()))
    demand((np.abs(total - 1) < 1e-9).all(), "weights_", f"a sum of {total}")
    _demand_numbers("C_", C, n_tasks)
    demand(np.all((np.asarray(C) > 0) & (np.asarray(C) < np.inf)), "C_", C)
    used = {name for name, weight in weights.items() if np.any(np.asarray(weight) > 0)}
    used |= set() if prior is None else {"probabilities"}
    demand_same("coef_", "blocks", sorted(used), sorted(map(str, coef)))

    sizes: Sizes = {}
    if "n_features_in_" in arrays:
        sizes = take_sizes(arrays, {"n_features_in_": "features"})
    forms = {
        "intercept_": "float scores",
        "feature_names_in_": "name features",
    }
    if n_tasks is None:
        forms["classes_"] = "class classes"
    check_arrays(arrays, forms, sizes, OPTIONAL)
    widths = _count_columns(representation, sizes)
    demand({*weights} == {*widths}, "weights_", [*weights])
    columns = {f"{name}_columns": width for name, width in widths.items()}
    forms = {name: f"float scores {name}_columns" for name in coef}
    check_arrays(coef, forms, sizes | columns, prefix="coef_.")
    n_scores = count_scores(sizes["classes"]) if n_tasks is None else n_tasks
    demand_same("intercept_", "scores", n_scores, sizes["scores"])

    start = {} if representation is None else vars(representation)
    movable = getattr(representation, "first_layer_attributes", ())
    for name, array in layer.items():
        is_known = name in movable and name in start
        demand(is_known, "first_layer_", name)
        check_kind("first_layer_", array, "float", start[name].ndim)
        demand_same("first_layer_", "shape", start[name].shape, array.shape)


def _count_tasks(names: Any, classes: Any) -> int:
    """Number of binary tasks of the columns of y."""
    demand(isinstance(names, np.ndarray) and names.ndim == 1, "output_names_", names)
    demand(isinstance(classes, list), "classes_", classes)
    demand_same("classes_", "outputs", len(names), len(classes))
    for found in classes:
        check_kind("classes_", found, "class", 1)
        demand(len(found) >= 2, "classes_", found)
    return LabelEncoding("wide", names, classes).n_tasks


def _demand_numbers(name: str, found: Any, n_tasks: int | None) -> None:
    """A float, or one for each task."""
    if n_tasks is None:
        demand(type(found) is float, name, found)
        return
    check_kind(name, found, "float", 1)
    demand_same(name, "tasks", n_tasks, len(found))


def _count_columns(representation: Any, sizes: Sizes) -> dict[str, int]:
    """Columns of the blocks of features that a probe sees."""
    if representation is None:
        demand("features" in sizes, "n_features_in_", "none")
        return {"inputs": sizes["features"]}
    is_network = hasattr(type(representation), "n_source_probabilities")
    demand(is_network, "representation_", representation)
    fitted = vars(representation)
    demand("n_features_in_" in fitted, "representation_", "one that was not fitted")
    n_inputs = fitted["n_features_in_"]
    seen = sizes.get("features", n_inputs)  # images show the number of their channels
    lengths = {n_inputs, *fitted.get("input_shape_", ())[:1]}
    demand(seen in lengths, "n_features_in_", seen)
    return {
        "hidden": len(representation.get_feature_names_out()),
        "probabilities": representation.n_source_probabilities,
        "inputs": n_inputs,
    }
