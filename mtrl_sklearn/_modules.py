"""The two-layer network as a small torch module."""

import math

import numpy as np
import torch
from torch import Tensor, nn

# Inputs are scaled to this mean squared norm. Adam moves every weight by about the
# learning rate per step, so without a fixed input scale no learning rate fits all data.
INPUT_SQUARED_NORM = 32.0

# Rows per matrix product where all rows are visited: memory is this many times
# (n_hidden + n_tasks) numbers.
BLOCK_ROWS = 4096


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
        self.hidden_weights = nn.Parameter(torch.empty(n_hidden, n_features).to(dtype))
        self.hidden_biases = nn.Parameter(torch.empty(n_hidden).to(dtype))
        self.task_coef = nn.Parameter(torch.empty(n_tasks, n_hidden).to(dtype))
        self.task_intercept = nn.Parameter(torch.empty(n_tasks).to(dtype))
        self.register_buffer("input_mean", torch.zeros(n_features, dtype=dtype))
        self.register_buffer("input_scale", torch.ones((), dtype=dtype))

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator) -> None:
        """Gaussian first layer with rows of mean squared norm 1/3, all else 0."""
        n_features = self.hidden_weights.shape[1]
        std = 1 / math.sqrt(3 * n_features)
        self.hidden_weights.normal_(0, std, generator=generator)
        self.hidden_biases.zero_()
        self.task_coef.zero_()
        self.task_intercept.zero_()

    def normalize(self, X: Tensor) -> Tensor:
        """Inputs centred per feature and divided by the one global scale."""
        return (X - self.input_mean).div_(self.input_scale)

    def hidden(self, X: Tensor) -> Tensor:
        """Hidden features, of shape (n_samples, n_hidden)."""
        Z = self.normalize(X)
        return torch.relu(torch.addmm(self.hidden_biases, Z, self.hidden_weights.T))

    def forward(self, X: Tensor) -> Tensor:
        return torch.addmm(self.task_intercept, self.hidden(X), self.task_coef.T)


def input_statistics(X: np.ndarray, signs: np.ndarray) -> tuple[np.ndarray, float]:
    """Mean of each feature, and the global scale that `TwoLayerReLU` divides by.

    Each row counts as often as it has labels, so that the long form of labels, one row
    per label, gives what the wide form does. Without any label all rows count.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    signs : ndarray of shape (n_samples, n_tasks)

    Returns
    -------
    mean : ndarray of shape (n_features,)
    scale : float
        ``sqrt(mean ||x - mean||^2 / 32)``; 1.0 where X is constant.
    """
    share = np.count_nonzero(signs, axis=1).astype(np.float64)
    share = share / share.sum() if share.any() else np.full(len(X), 1 / len(X))
    largest = max(float(X.max()), -float(X.min()))
    if largest == 0:
        return np.zeros(X.shape[1], dtype=X.dtype), 1.0
    # divided by a power of two, which is exact, no square can overflow
    bound = X.dtype.type(2.0 ** math.floor(math.log2(largest)))
    share = share.astype(X.dtype)
    blocks = [slice(k, k + BLOCK_ROWS) for k in range(0, len(X), BLOCK_ROWS)]
    mean = np.zeros(X.shape[1])
    for rows in blocks:
        mean += share[rows] @ (X[rows] / bound)
    squared_norm = 0.0
    for rows in blocks:
        centred = X[rows] / bound - mean.astype(X.dtype)
        squared_norm += share[rows] @ np.einsum("ij,ij->i", centred, centred)
    scale = math.sqrt(squared_norm / INPUT_SQUARED_NORM)
    rounding = np.finfo(X.dtype).eps * np.linalg.norm(mean)
    mean = (float(bound) * mean).astype(X.dtype)
    return mean, float(bound) * scale if scale > rounding else 1.0
