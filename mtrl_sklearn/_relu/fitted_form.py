"""What a fitted ReLU representation consists of, and the check that one is whole.

How its arrays follow from the state that training goes on from is checked too: each is
computed anew, or what defines it is, and agrees up to rounding.
"""

from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from mtrl_sklearn._labels.encoding import LabelEncoding
from mtrl_sklearn._training.fitted_forms import (
    COMMON,
    OPTIONAL,
    SCALING,
    Arrays,
    adam,
    agree,
    check_arrays,
    check_prior,
    check_seed,
    check_state,
    demand,
    demand_most,
    demand_same,
    take,
    take_sizes,
)
from mtrl_sklearn._training.fitted_values import check_kind
from mtrl_sklearn._training.losses import log_odds

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
    "head_shift_": "float tasks",
    "n_positive_": "total tasks",
    "n_negative_": "total tasks",
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

N_DIRECTIONS = 4


def check_relu(fitted: dict[str, Any], has_pos_label: bool = False) -> None:
    """Check the fitted attributes of a MultiTaskReLURepresentation.

    Parameters
    ----------
    fitted : dict
    has_pos_label : bool, default=False
        Whether two classes may have another order than the sorted one.

    Raises
    ------
    Refusal
        If one is missing, unknown, of another type, dtype or shape, holds what no fit
        gives it, or contradicts another one.
    """
    arrays, rest = dict(fitted), {}
    check_prior("probe_prior_", arrays.pop("probe_prior_", None))
    decay = arrays.pop("head_decay_", 1.0)
    demand(type(decay) is float and 1 <= decay < np.inf, "head_decay_", decay)
    is_sparse = arrays.pop("sparse_output_", True)
    demand(is_sparse is True, "sparse_output_", is_sparse)
    scale = arrays.pop("head_scale_", 1.0)
    demand(type(scale) is float and 0 < scale < np.inf, "head_scale_", scale)
    demand(("head_scale_" in fitted) == ("head_shift_" in fitted), "head_scale_", scale)
    for name in ("label_form_", "classes_", "_state_", "_seed_"):
        rest[name] = take(arrays, name)
    counts = {
        "n_features_in_": "features",
        "n_components_": "components",
        "n_tasks_": "tasks",
        "n_iter_": "epochs",
    }
    sizes = take_sizes(arrays, counts)
    check_arrays(arrays, RELU, sizes, OPTIONAL | {"head_shift_"})
    check_seed(rest["_seed_"])
    most = min(sizes["hidden"], sizes["features"])
    demand_same("singular_values_", "length", most, sizes["values"])
    demand_most("components_", "rows", most, sizes["components"])
    _check_labels(rest["label_form_"], rest["classes_"], fitted, has_pos_label)
    if "sparse_output_" in fitted:
        demand(rest["label_form_"] == "wide", "label_form_", rest["label_form_"])

    state = rest["_state_"]
    scaling = {"input_mean": "float features", "input_scale": "scale"}
    if isinstance(state, dict) and "start" in state:
        check_state(state, ONE_STEP | scaling | MOMENTS, SCALING, sizes)
    else:
        forms = {k: f.replace("weight", "float") for k, f in RELU_PARAMETERS.items()}
        groups = [MOMENTS, *SCALING]
        groups += (adam(name, form) for name, form in forms.items())
        if sizes["components"] < most:  # heads follow from them
            forms |= MOMENTS
        forms |= scaling | {"generator": "byte generator"}
        check_state(state, forms, groups, sizes)
    _check_relations(fitted, state)


def _check_labels(
    form: Any, classes: Any, fitted: dict[str, Any], has_pos_label: bool
) -> None:
    """Check form, classes and names of the tasks that labels are split into."""
    demand(form in ("single", "wide", "long"), "label_form_", form)
    outputs, names = fitted["output_names_"], fitted["task_names_"]
    classes = [classes] if form == "single" else classes
    demand(isinstance(classes, list), "classes_", classes)
    demand_same("classes_", "outputs", len(outputs), len(classes))
    for found in {id(found): found for found in classes}.values():  # many share theirs
        is_pair = isinstance(found, np.ndarray) and found.shape == (2,)
        is_free = is_pair and found.dtype.kind in "biufUT" and has_pos_label
        check_kind("classes_", np.sort(found) if is_free else found, "class", 1)
    if form == "long":
        check_kind("output_names_", outputs, "class", 1)
    encoding = LabelEncoding(form, outputs, classes)
    demand_same("classes_", "tasks", len(names), encoding.n_tasks)
    expected = repr(encoding.task_names.tolist())
    demand_same("task_names_", "names", expected, repr(names.tolist()))


def _check_relations(fitted: Arrays, state: Arrays) -> None:
    """Check that the network of the ReLU representation is that of its state.

    Raises
    ------
    Refusal
        If an array is another one.
    """
    with np.errstate(all="ignore"):
        _check_first_layer(fitted, state)
        _check_heads(fitted, state)


def _check_first_layer(fitted: Arrays, state: Arrays) -> None:
    """W has the right singular vectors that it was cut to, in the order of values.

    Products of whole matrices would take longer than reading them: they are compared
    in a few directions, where no two differ that differ at all.
    """
    if "start" in state:
        weights = normalize(torch.from_numpy(state["step"]), dim=1).numpy()
        biases = weights[:, 0] * 0
    else:
        weights, biases = state["hidden_weights"], state["hidden_biases"]
    weights, mean = weights / state["input_scale"], state["input_mean"]
    basis, values = fitted["components_"], fitted["singular_values_"]
    found = fitted["hidden_weights_"]
    largest = float(values[0])
    draw = np.random.default_rng(0).standard_normal
    inner, outer = (draw((n, N_DIRECTIONS)).astype(basis.dtype) for n in basis.shape)
    raised = basis.T @ inner
    agree("components_", basis @ raised, inner, 1.0)
    heights = np.stack([basis.max(axis=1), -basis.min(axis=1)])
    agree("components_", heights[0], heights.max(axis=0), 0.0)  # which settles signs
    scaled = values[: len(basis), None] * inner
    pairs = [(weights @ raised, scaled), (weights, values)]
    for name, (one, other) in zip(["components_", "singular_values_"], pairs):
        expected = np.linalg.norm(one.astype(float))
        total = np.linalg.norm(other.astype(float)).astype(basis.dtype)
        agree(name, total, expected, expected)
    projected = weights @ (basis.T @ (basis @ outer))
    agree("hidden_weights_", found @ outer, projected, largest)
    size = float(np.abs(biases).max()) + largest * float(np.linalg.norm(mean))
    agree("hidden_biases_", fitted["hidden_biases_"], biases - found @ mean, size)


def _check_heads(fitted: Arrays, state: Arrays) -> None:
    """Heads are those in training, or discriminants: half-way between the classes.

    Both times a scale, and shifted.
    """
    coef, intercept = fitted["task_coef_"], fitted["task_intercept_"]
    scale, shift = fitted.get("head_scale_", 1.0), fitted.get("head_shift_", 0.0)
    counts = fitted["n_positive_"], fitted["n_negative_"]
    odds = log_odds(*counts)
    is_truncated = len(fitted["components_"]) < len(fitted["singular_values_"])
    if not is_truncated and "start" not in state:
        is_usable = np.minimum(*counts) > 0
        trained = np.where(is_usable, state["task_intercept"], odds)
        expected = scale * state["task_coef"]
        agree("task_coef_", coef, expected, np.abs(coef))
        size = 1 + np.abs(odds) + np.abs(shift)
        agree("task_intercept_", intercept, scale * trained + shift, size)
        return
    second = state["moments.second"]
    agree("_state_.moments.second", second, second.T, second.max())
    centres = []
    for sign in ("positive", "negative"):
        totals = state[f"moments.n_{sign}"][:, None]
        centres.append(state[f"moments.{sign}"] / np.where(totals > 0, totals, 1))
    terms = (centres[0] + centres[1]) / 2 * coef
    size = 1 + np.abs(odds) + np.abs(shift) + np.abs(terms).sum(axis=1)
    expected = scale * odds - terms.sum(axis=1) + shift
    agree("task_intercept_", intercept, expected, size)
