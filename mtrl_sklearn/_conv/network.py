"""The two-layer convolutional network: as a torch module, and as arrays."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mtrl_sklearn._arrays.rows import Rows, to_numpy
from mtrl_sklearn._conv.gradients import pool_responses
from mtrl_sklearn._conv.patches import PatchGrid
from mtrl_sklearn._training.initialization import fill_normal


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
        self.is_heavy: Tensor | None = None  # entries of patches that count as 0
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

    @torch.no_grad()
    def leave_out(self, is_heavy: np.ndarray) -> None:
        """Give entries of patches, of shape (patch_dim,), no weight and no value."""
        if is_heavy.any():
            self.is_heavy = torch.from_numpy(is_heavy).to(self.filters.device)
            self.filters[:, self.is_heavy] = 0

    def train_only(self, names: set[str]) -> None:
        """Leave all other parameters at their start."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in names)

    def patches(self, X: Tensor) -> Tensor:
        """Scaled patches, of shape (n_samples, n_positions, patch_dim)."""
        scaled = (X - self.input_mean).div_(self.input_scale)
        patches = self.grid.extract(scaled, self.places)
        if self.is_heavy is not None:
            patches = patches.masked_fill(self.is_heavy, 0)
        return patches

    def scores(self, X: Tensor) -> Tensor:
        """Scores of all heads on a block of inputs."""
        of_patches = (self.filters, self.biases, self.pool, self.power)
        pooled = pool_responses(self.patches(X), *of_patches).pooled
        return torch.addmm(self.head_intercept, pooled, self.head_coef.T)

    def forward(self, X: Tensor) -> Tensor:
        blocks = X.split(self.grid.block_rows(len(self.filters)))
        return torch.cat([self.scores(block) for block in blocks])

    @torch.no_grad()
    def score_rows(self, rows: Rows) -> np.ndarray:
        """Scores of held-out rows, of shape (n_samples, n_heads * n_columns)."""
        size = self.grid.block_rows(len(self.filters))
        blocks = (slice(k, k + size) for k in range(0, len(rows), size))
        device = self.filters.device
        scores = [self.scores(rows.take(block).to(device)) for block in blocks]
        if not scores:  # of no rows
            return np.empty((0, len(self.head_coef)))
        return to_numpy(torch.cat(scores))


class ConvNetwork(NamedTuple):
    """A network that acts on inputs divided by ``scale``."""

    filters: np.ndarray  # (n_filters, patch_dim)
    biases: np.ndarray  # (n_filters,)
    head_coef: np.ndarray  # (n_heads * n_columns, n_cells * n_filters)
    head_intercept: np.ndarray  # (n_heads * n_columns,)
    scale: float
