"""What a fitted LinearProbe consists of, and the check that one is whole."""

from typing import Any

import numpy as np

from mtrl_sklearn._training.fitted_forms import (
    OPTIONAL,
    Sizes,
    check_arrays,
    check_counts,
    count_scores,
    demand,
    demand_same,
    take,
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
        demand(type(weight) is float and 0 <= weight <= 1, "weights_", weight)
    total = sum(weights.values())
    demand(abs(total - 1) < 1e-9, "weights_", f"a sum of {total}")
    demand(type(C) is float and 0 < C < np.inf, "C_", C)
    used = {name for name, weight in weights.items() if weight > 0}
    demand_same("coef_", "blocks", sorted(used), sorted(map(str, coef)))

    sizes: Sizes = {}
    if "n_features_in_" in arrays:
        sizes = check_counts(arrays, {"n_features_in_": "features"})
    forms = {
        "classes_": "class classes",
        "intercept_": "float scores",
        "feature_names_in_": "name features",
    }
    check_arrays(arrays, forms, sizes, OPTIONAL)
    widths = _count_columns(representation, sizes)
    demand({*weights} == {*widths}, "weights_", [*weights])
    columns = {f"{name}_columns": width for name, width in widths.items()}
    forms = {name: f"float scores {name}_columns" for name in coef}
    check_arrays(coef, forms, sizes | columns, prefix="coef_.")
    n_scores = count_scores(sizes["classes"])
    demand_same("intercept_", "scores", n_scores, sizes["scores"])

    start = {} if representation is None else vars(representation)
    movable = getattr(representation, "first_layer_attributes", ())
    for name, array in layer.items():
        is_known = name in movable and name in start
        demand(is_known, "first_layer_", name)
        check_kind("first_layer_", array, "float", start[name].ndim)
        demand_same("first_layer_", "shape", start[name].shape, array.shape)


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
