"""The two-layer ReLU network: as a torch module, and as arrays."""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import issparse
from torch import Tensor, nn

from mtrl_sklearn._arrays.products import (
    Factor,
    ShiftedRows,
    entries,
    is_sparse,
    with_values,
)
from mtrl_sklearn._arrays.rows import (
    LARGE_BLOCK_ENTRIES,
    Rows,
    block_slices,
    to_numpy,
)
from mtrl_sklearn._labels.signs import Signs, sign_rows
from mtrl_sklearn._relu.gradients import hidden_layer, task_scores


class TwoLayerReLU(nn.Module):
    """``F = relu(Z W' + b) A' + c`` on centred and globally scaled inputs Z.

    Parameters
    ----------
    n_features, n_hidden, n_tasks : int
    dtype : torch.dtype

    Shape
    -----
    input (n_samples, n_features), output (n_samples, n_tasks).
    """

    input_mean: Tensor
    input_scale: Tensor

    def __init__(
        self, n_features: int, n_hidden: int, n_tasks: int, dtype: torch.dtype
    ):
        super().__init__()
        # the weights of a feature lie together: sparse products read and write them
        weights = torch.empty(n_features, n_hidden).to(dtype).T
        self.hidden_weights = nn.Parameter(weights)
        self.hidden_biases = nn.Parameter(torch.empty(n_hidden).to(dtype))
        self.task_coef = nn.Parameter(torch.empty(n_tasks, n_hidden).to(dtype))
        self.task_intercept = nn.Parameter(torch.empty(n_tasks).to(dtype))
        self.register_buffer("input_mean", torch.zeros(n_features, dtype=dtype))
        self.register_buffer("input_scale", torch.ones((), dtype=dtype))
        self.full_columns: Tensor | None = None  # of sparse training rows

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator) -> None:
        """Gaussian first layer with rows of mean squared norm 1/3, all else 0."""
        std = 1 / math.sqrt(3 * self.hidden_weights.shape[1])
        draws = self.hidden_weights.new_empty(self.hidden_weights.shape)
        # the same ones whatever the layout
        self.hidden_weights.copy_(draws.normal_(0, std, generator=generator))
        self.hidden_biases.zero_()
        self.task_coef.zero_()
        self.task_intercept.zero_()

    def normalize(self, X: Tensor) -> Factor:
        """Inputs centred per feature and divided by the one global scale."""
        return normalize_rows(X, self.input_mean, self.input_scale, self.full_columns)

    def hidden(self, X: Tensor) -> Tensor:
        """Hidden features, of shape (n_samples, n_hidden)."""
        return hidden_layer(self.normalize(X), self.hidden_weights, self.hidden_biases)

    def forward(self, X: Tensor) -> Tensor:
        return torch.addmm(self.task_intercept, self.hidden(X), self.task_coef.T)

    @torch.no_grad()
    def score_rows(self, rows: Rows, signs: Signs) -> np.ndarray:
        """Scores of held-out rows: of all tasks, or of the labels that CSR signs hold.

        Of shape (n_samples, n_tasks) or (n_labels,).
        """
        labels, device = sign_rows(signs, rows.dtype), self.hidden_weights.device
        scores = [
            task_scores(
                self.hidden(rows.take(block).to(device)),
                self.task_coef,
                self.task_intercept,
                labels.take(block).to(device),
            )
            for block in block_slices(len(rows), rows.width + len(self.hidden_weights))
        ]
        if not scores:  # of no rows
            return np.empty(0 if issparse(signs) else (0, len(self.task_coef)))
        return to_numpy(torch.cat(scores))


def normalize_rows(
    X: Tensor, mean: Tensor, scale: Tensor, full_columns: Tensor | None = None
) -> Factor:
    """``(X - mean) / scale``, of which sparse X is never written out.

    Parameters
    ----------
    X : Tensor of shape (n_samples, n_features)
        Dense or CSR.
    mean : Tensor of shape (n_features,)
    scale : Tensor, scalar
    full_columns : bool Tensor of shape (n_features,), default=None
        See `find_full_columns`.
    """
    if not is_sparse(X):
        return (X - mean).mul_(1 / scale)
    if full_columns is None:
        return ShiftedRows(_divide(X, scale), mean / scale)
    # each entry is there: centred by itself, a constant is 0 whatever its size
    shift = torch.where(full_columns, mean, 0)
    centred = with_values(X, entries(X) - shift[X.col_indices().long()])
    return ShiftedRows(_divide(centred, scale), (mean - shift) / scale)


def find_full_columns(X: Any, device: torch.device | str) -> Tensor | None:
    """Columns of sparse rows of which every entry is stored; None without any.

    Parameters
    ----------
    X : ndarray or CSR array of shape (n_samples, n_features)
    device : torch.device or str

    Returns
    -------
    bool Tensor of shape (n_features,) or None
    """
    if not issparse(X) or X.nnz < X.shape[0]:
        return None
    counts = np.zeros(X.shape[1], dtype=np.int64)
    for start in range(0, X.nnz, LARGE_BLOCK_ENTRIES):  # numpy makes int64 of indices
        columns = X.indices[start : start + LARGE_BLOCK_ENTRIES]
        counts += np.bincount(columns, minlength=X.shape[1])
    is_full = counts == X.shape[0]
    return torch.from_numpy(is_full).to(device) if is_full.any() else None


def _divide(X: Tensor, scale: Tensor | float) -> Tensor:
    return with_values(X, entries(X) / scale)


class ReLUNetwork(NamedTuple):
    """A trained network that acts on raw inputs, as arrays of any float dtype."""

    hidden_weights: np.ndarray  # (n_hidden, n_features)
    hidden_biases: np.ndarray  # (n_hidden,)
    task_coef: np.ndarray  # (n_tasks, n_hidden)
    task_intercept: np.ndarray  # (n_tasks,)
