"""What a trained ReLU network makes of rows: hidden features, projections, scores.

Rows come in blocks, so that nothing larger than the result is held in memory.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from mtrl_sklearn._gradients import hidden_layer, task_scores
from mtrl_sklearn._products import by_feature, is_sparse, multiply
from mtrl_sklearn._rows import Rows, block_slices, to_tensor, torch_dtype, working_dtype


class ReLUNetwork(NamedTuple):
    """A trained network that acts on raw inputs, as arrays of any float dtype."""

    hidden_weights: np.ndarray  # (n_hidden, n_features)
    hidden_biases: np.ndarray  # (n_hidden,)
    task_coef: np.ndarray  # (n_tasks, n_hidden)
    task_intercept: np.ndarray  # (n_tasks,)


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


def score_all(X: Any, network: ReLUNetwork) -> np.ndarray:
    """Scores of all tasks, of shape (n_samples, n_tasks); X as above."""
    rows = Rows(X, torch_dtype(working_dtype(X.dtype)))
    weights, biases, coef, intercept = _tensors(network, rows)
    result = torch.empty(len(rows), len(coef), dtype=rows.dtype)
    for block in block_slices(len(rows), rows.width + len(weights) + len(coef)):
        hidden = hidden_layer(rows.take(block), weights, biases)
        result[block] = torch.addmm(intercept, hidden, coef.T)
    return result.numpy()


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


def _tensors(network: ReLUNetwork, rows: Rows) -> list[Tensor]:
    weights, *others = (to_tensor(array, "cpu").to(rows.dtype) for array in network)
    if is_sparse(rows.matrix):
        weights = by_feature(weights)
    return [weights, *others]
