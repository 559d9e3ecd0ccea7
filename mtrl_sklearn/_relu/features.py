"""What a trained ReLU network makes of rows: hidden features, projections, scores.

Rows come in blocks, so that nothing larger than the result is held in memory.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array, issparse
from torch import Tensor

from mtrl_sklearn._arrays.products import by_feature, is_sparse, multiply
from mtrl_sklearn._arrays.rows import (
    Rows,
    block_size,
    block_slices,
    map_rows,
    rows_at_once,
    to_tensor,
    torch_dtype,
    working_dtype,
)
from mtrl_sklearn._labels.indicator import is_indicator
from mtrl_sklearn._labels.signs import Signs
from mtrl_sklearn._relu.gradients import hidden_layer, task_scores
from mtrl_sklearn._relu.network import ReLUNetwork


def hidden_features(X: Any, network: ReLUNetwork) -> np.ndarray:
    """``relu(X W' + b)``, of shape (n_samples, n_hidden).

    Parameters
    ----------
    X : ndarray or CSR array of shape (n_samples, n_features)
        Of any numeric dtype. Results are float64 for float64, else float32.
    network : ReLUNetwork
    """
    rows = Rows(X, torch_dtype(working_dtype(X.dtype)))
    weights, biases, *_ = _tensors(network, rows)
    result = torch.empty(len(rows), len(weights), dtype=rows.dtype)
    for block in block_slices(len(rows), rows.width + len(weights)):
        result[block] = hidden_layer(rows.take(block), weights, biases)
    return result.numpy()


def project(X: Any, components: np.ndarray) -> np.ndarray:
    """``X C'``, of shape (n_samples, n_components); X as for `hidden_features`."""
    rows = Rows(X, torch_dtype(working_dtype(X.dtype)))
    basis = to_tensor(components, "cpu").to(rows.dtype).T.contiguous()
    result = torch.empty(len(rows), basis.shape[1], dtype=rows.dtype)
    for block in block_slices(len(rows), rows.width + basis.shape[1]):
        result[block] = multiply(rows.take(block), basis)
    return result.numpy()


def score_all(
    X: Any,
    network: ReLUNetwork,
    finish: Callable[[np.ndarray], np.ndarray] | None = None,
    squash: bool = False,
) -> np.ndarray:
    """Scores of all tasks, of shape (n_samples, n_tasks), or what is made of them.

    Parameters
    ----------
    X : ndarray or CSR array of shape (n_samples, n_features)
        As above.
    network : ReLUNetwork
    finish : callable, default=None
        Called with the scores of some rows at a time; returns a row for each.
    squash : bool, default=False
        Whether scores become probabilities, ``1 / (1 + exp(-score))``.
    """
    rows = Rows(X, torch_dtype(working_dtype(X.dtype)))
    weights, biases, coef, intercept = _tensors(network, rows)
    size = block_size(rows.width + len(weights) + len(coef))

    def score(large: slice) -> np.ndarray:
        scores = torch.empty(large.stop - large.start, len(coef), dtype=rows.dtype)
        for start in range(0, len(scores), size):
            part = scores[start : start + size]
            block = slice(large.start + start, large.start + start + len(part))
            hidden = hidden_layer(rows.take(block), weights, biases)
            torch.addmm(intercept, hidden, coef.T, out=part)
            if squash:  # while they are in the cache
                part.sigmoid_()
        return scores.numpy()

    if finish is None:
        return score(slice(0, len(rows)))
    large = rows_at_once(len(coef), size)
    return map_rows(lambda block: finish(score(block)), len(rows), large)


def score_labels(X: Any, network: ReLUNetwork, signs: csr_array) -> np.ndarray:
    """Scores of the labels that signs store, of shape (n_labels,), in their order."""
    rows = Rows(X, torch_dtype(working_dtype(X.dtype)))
    weights, biases, coef, intercept = _tensors(network, rows)
    labels = Rows(signs, rows.dtype)
    scores = [torch.empty(0, dtype=rows.dtype)]
    for block in block_slices(len(rows), rows.width + len(weights)):
        hidden = hidden_layer(rows.take(block), weights, biases)
        scores.append(task_scores(hidden, coef, intercept, labels.take(block)))
    return torch.cat(scores).numpy()


def score_tasks(
    hidden: np.ndarray, network: ReLUNetwork
) -> Callable[[slice], np.ndarray]:
    """A function of slices of tasks to their scores, (n_samples, n_of_these).

    Parameters
    ----------
    hidden : ndarray of shape (n_samples, n_hidden)
        Hidden features of rows.
    network : ReLUNetwork
    """

    def score(part: slice) -> np.ndarray:
        coef = network.task_coef[part].astype(hidden.dtype, copy=False)
        return hidden @ coef.T + network.task_intercept[part].astype(hidden.dtype)

    return score


class LabelScores(NamedTuple):
    """Observed labels one by one, with their scores."""

    rows: np.ndarray  # (n_labels,), positions
    tasks: np.ndarray  # (n_labels,)
    signs: np.ndarray  # (n_labels,)
    scores: np.ndarray  # (n_labels,)


def score_observed(X: Any, network: ReLUNetwork, signs: Signs) -> LabelScores:
    """Scores of the labels that signs (n_samples, n_tasks) observe; X as above."""
    if is_indicator(signs):
        signs = signs.toarray()
    rows, tasks = signs.nonzero()
    if issparse(signs):
        observed = np.asarray(signs.data)
        return LabelScores(rows, tasks, observed, score_labels(X, network, signs))
    scores = score_all(X, network)[rows, tasks]
    return LabelScores(rows, tasks, signs[rows, tasks], scores)


def _tensors(network: ReLUNetwork, rows: Rows) -> list[Tensor]:
    weights, *others = (to_tensor(array, "cpu").to(rows.dtype) for array in network)
    if is_sparse(rows.matrix):
        weights = by_feature(weights)
    return [weights, *others]
