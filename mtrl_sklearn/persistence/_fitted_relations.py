"""How arrays of a fitted network follow from the state that training goes on from.

Each is computed anew, or what defines it is, and agrees up to rounding.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from mtrl_sklearn._training.losses import log_odds
from mtrl_sklearn.persistence._fitted_values import improper

Arrays = Mapping[str, Any]

N_DIRECTIONS = 4


def check_relu_relations(fitted: Arrays, state: Arrays) -> None:
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
    _agree("components_", basis @ raised, inner, 1.0)
    heights = np.stack([basis.max(axis=1), -basis.min(axis=1)])
    _agree("components_", heights[0], heights.max(axis=0), 0.0)  # which settles signs
    scaled = values[: len(basis), None] * inner
    pairs = [(weights @ raised, scaled), (weights, values)]
    for name, (one, other) in zip(["components_", "singular_values_"], pairs):
        expected = np.linalg.norm(one.astype(float))
        total = np.linalg.norm(other.astype(float)).astype(basis.dtype)
        _agree(name, total, expected, expected)
    projected = weights @ (basis.T @ (basis @ outer))
    _agree("hidden_weights_", found @ outer, projected, largest)
    size = float(np.abs(biases).max()) + largest * float(np.linalg.norm(mean))
    _agree("hidden_biases_", fitted["hidden_biases_"], biases - found @ mean, size)


def _check_heads(fitted: Arrays, state: Arrays) -> None:
    """Heads are those in training, or discriminants: half-way between the classes."""
    coef, intercept = fitted["task_coef_"], fitted["task_intercept_"]
    counts = fitted["n_positive_"], fitted["n_negative_"]
    odds = log_odds(*counts)
    is_truncated = len(fitted["components_"]) < len(fitted["singular_values_"])
    if not is_truncated and "start" not in state:
        is_usable = np.minimum(*counts) > 0
        expected = np.where(is_usable, state["task_intercept"], odds)
        _agree("task_coef_", coef, state["task_coef"], np.abs(coef))
        _agree("task_intercept_", intercept, expected, 1 + np.abs(odds))
        return
    second = state["moments.second"]
    _agree("_state_.moments.second", second, second.T, second.max())
    centres = [
        state[f"moments.{sign}"] / np.maximum(state[f"moments.n_{sign}"], 1)[:, None]
        for sign in ("positive", "negative")
    ]
    terms = (centres[0] + centres[1]) / 2 * coef
    size = 1 + np.abs(odds) + np.abs(terms).sum(axis=1)
    _agree("task_intercept_", intercept, odds - terms.sum(axis=1), size)


def check_conv_relations(fitted: Arrays, state: Arrays) -> None:
    """Check that the convolutional network is that of its state.

    Raises
    ------
    Refusal
        If an array is another one.
    """
    for name in ("filters", "head_coef", "head_intercept"):
        found = fitted[f"{name}_"]
        expected = state[name].reshape(found.shape)
        _agree(f"{name}_", found, expected, np.abs(expected))
    scale, filters = state["input_scale"], state["filters"]
    _agree("scale_", np.asarray(fitted["scale_"]), scale, scale)
    shift = state["input_mean"] / scale
    sizes = np.abs(state["biases"]) + np.abs(shift) * np.abs(filters).sum(axis=1)
    expected = state["biases"] - shift * filters.sum(axis=1)
    _agree("biases_", fitted["biases_"], expected, sizes)


def _agree(name: str, found: Any, expected: Any, size: Any) -> None:
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
