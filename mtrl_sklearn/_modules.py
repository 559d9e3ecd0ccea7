"""The two networks as small torch modules, and the statistics that scale inputs."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from mtrl_sklearn._gradients import PooledResponses, pool_responses
from mtrl_sklearn._patches import PatchGrid

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


class TwoLayerConv(nn.Module):
    """``f(x) = A pool(relu(W * z + b)^q) + c`` on globally scaled inputs z.

    Parameters
    ----------
    grid : PatchGrid
    n_filters : int
    n_heads, n_columns : int
        Number of heads, and of scores of each.
    power : float
    dtype : torch.dtype

    Shape
    -----
    input (n_samples, prod(input_shape)), output (n_samples, n_heads * n_columns).
    """

    input_mean: Tensor
    input_scale: Tensor
    places: Tensor
    pool: Tensor

    def __init__(
        self,
        grid: PatchGrid,
        n_filters: int,
        n_heads: int,
        n_columns: int,
        power: float,
        dtype: torch.dtype,
    ):
        super().__init__()
        self.grid = grid
        self.power = power
        self.n_columns = n_columns
        n_scores, n_pooled = n_heads * n_columns, grid.n_cells * n_filters
        self.filters = nn.Parameter(torch.empty(n_filters, grid.patch_dim).to(dtype))
        self.biases = nn.Parameter(torch.empty(n_filters).to(dtype))
        self.head_coef = nn.Parameter(torch.empty(n_scores, n_pooled).to(dtype))
        self.head_intercept = nn.Parameter(torch.empty(n_scores).to(dtype))
        self.register_buffer("input_mean", torch.zeros((), dtype=dtype))
        self.register_buffer("input_scale", torch.ones((), dtype=dtype))
        places = torch.from_numpy(grid.places())
        pool = torch.from_numpy(grid.pooling_matrix()).to(dtype)
        self.register_buffer("places", places, persistent=False)
        self.register_buffer("pool", pool, persistent=False)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator, init_scale: float) -> None:
        """Gaussian filters, biases of 0, heads as the power asks for.

        Filters respond to patches of unit norm with the standard deviation
        ``init_scale``. With a power above 1 the network starts as that of the theory:
        each class scores the sum of its own share of the filters, and where one score
        stands for two classes, filters of the first class count negative. With power
        1 heads are Gaussian, with rows of mean squared norm 1/3.
        """
        fill_normal(self.filters, init_scale, generator)
        self.biases.zero_()
        self.head_intercept.zero_()
        if self.power > 1:
            self.assign_filters()
        else:
            std = 1 / math.sqrt(3 * self.head_coef.shape[1])
            fill_normal(self.head_coef, std, generator)

    @torch.no_grad()
    def assign_filters(self) -> None:
        """Make heads count the filters of their class."""
        n_pooled, n_filters = self.head_coef.shape[1], len(self.filters)
        n_classes = max(self.n_columns, 2)
        groups = torch.arange(n_filters) * n_classes // n_filters
        counts = torch.eye(n_classes)[:, groups]
        if self.n_columns == 1:
            counts = counts[1:] - counts[:1]
        n_heads = len(self.head_coef) // self.n_columns
        self.head_coef.copy_(counts.repeat(n_heads, n_pooled // n_filters))

    def train_only(self, names: set[str]) -> None:
        """Leave all other parameters at their start."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in names)

    def patches(self, X: Tensor) -> Tensor:
        """Scaled patches, of shape (n_samples, n_positions, patch_dim)."""
        scaled = (X - self.input_mean).div_(self.input_scale)
        return self.grid.extract(scaled, self.places)

    def respond(self, patches: Tensor) -> PooledResponses:
        """Responses of all filters, and their pooled powers."""
        return pool_responses(patches, self.filters, self.biases, self.pool, self.power)

    def scores(self, pooled: Tensor) -> Tensor:
        """Scores of pooled features by all heads."""
        return torch.addmm(self.head_intercept, pooled, self.head_coef.T)

    def forward(self, X: Tensor) -> Tensor:
        blocks = X.split(self.grid.block_rows(len(self.filters)))
        return torch.cat(
            [self.scores(self.respond(self.patches(rows)).pooled) for rows in blocks]
        )


def fill_normal(tensor: Tensor, std: float, generator: torch.Generator) -> None:
    """Gaussian numbers that are the same for every dtype, up to rounding."""
    draws = torch.empty_like(tensor, dtype=torch.float64)
    tensor.copy_(draws.normal_(0, std, generator=generator))


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


def patch_statistics(
    X: np.ndarray, weights: np.ndarray, grid: PatchGrid, centre: bool
) -> tuple[float, float]:
    """Mean of all entries of patches, and the root of the mean squared norm of a patch.

    One number each: patches differ in what they show, not in units.

    Parameters
    ----------
    X : ndarray of shape (n_samples, prod(input_shape))
    weights : ndarray of shape (n_samples,), summing to 1
    grid : PatchGrid
    centre : bool
        Whether the mean is subtracted before norms are taken; it is 0 otherwise.

    Returns
    -------
    mean, scale : float
        ``scale`` is 1.0 where patches are constant.
    """
    coverage = np.bincount(grid.places().ravel(), minlength=X.shape[1])
    coverage = (coverage / grid.n_positions).astype(X.dtype)  # sums to patch_dim
    largest = max(float(X.max()), -float(X.min()))
    if largest == 0:
        return 0.0, 1.0
    # divided by a power of two, which is exact, no square can overflow
    bound = X.dtype.type(2.0 ** math.floor(math.log2(largest)))
    blocks = [slice(k, k + BLOCK_ROWS) for k in range(0, len(X), BLOCK_ROWS)]
    mean = squared_norm = 0.0
    if centre:
        for rows in blocks:
            mean += weights[rows] @ (X[rows] / bound @ coverage) / grid.patch_dim
    for rows in blocks:
        squares = np.square(X[rows] / bound - X.dtype.type(mean))
        squared_norm += weights[rows] @ (squares @ coverage)
    scale = math.sqrt(squared_norm)
    rounding = 4 * np.finfo(X.dtype).eps * abs(mean) * grid.patch_dim
    return float(bound) * mean, float(bound) * scale if scale > rounding else 1.0
