"""The two networks as small torch modules, and the statistics that scale inputs."""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import issparse
from torch import Tensor, nn

from mtrl_sklearn._gradients import (
    hidden_layer,
    pool_responses,
    task_scores,
)
from mtrl_sklearn._patches import PatchGrid
from mtrl_sklearn._products import (
    Factor,
    ShiftedRows,
    entries,
    is_dense,
    is_sparse,
    row_indices,
    with_values,
)
from mtrl_sklearn._ranks import gather, sum_over_ranks
from mtrl_sklearn._rows import (
    Rows,
    block_slices,
    to_numpy,
    torch_dtype,
    working_dtype,
)
from mtrl_sklearn._signs import Signs, labels_per_row

# Inputs are scaled to this mean squared norm. Adam moves every weight by about the
# learning rate per step, so without a fixed input scale no learning rate fits all data.
INPUT_SQUARED_NORM = 32.0


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
        labels, device = Rows(signs, rows.dtype), self.hidden_weights.device
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
            return np.empty((0, len(self.task_coef)) if is_dense(labels.matrix) else 0)
        return to_numpy(torch.cat(scores))


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


def fill_normal(tensor: Tensor, std: float, generator: torch.Generator) -> None:
    """Gaussian numbers that are the same for every dtype, up to rounding."""
    draws = torch.empty_like(tensor, dtype=torch.float64)
    tensor.copy_(draws.normal_(0, std, generator=generator))


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
    is_full = np.bincount(X.indices, minlength=X.shape[1]) == X.shape[0]
    return torch.from_numpy(is_full).to(device) if is_full.any() else None


def _divide(X: Tensor, scale: Tensor | float) -> Tensor:
    return with_values(X, entries(X) / scale)


class InputStatistics(NamedTuple):
    """What inputs are centred and scaled by."""

    mean: np.ndarray  # (n_features,)
    scale: float
    is_constant: np.ndarray  # (n_features,), bool: the same in all rows with labels


def input_statistics(
    X: Any, signs: Signs, rows: np.ndarray | None = None
) -> InputStatistics:
    """Mean of each feature, and the global scale that `TwoLayerReLU` divides by.

    They are those of the rows of all ranks.

    Each row counts as often as it has labels, so that the long form of labels, one row
    per label, gives what the wide form does. Without any label all rows count.

    Sums are taken in float64 and from the first row on, so the mean of a constant
    feature is its value exactly, however large: centred, it is 0.

    Parameters
    ----------
    X : ndarray or CSR array of shape (n_samples, n_features)
    signs : ndarray or CSR array of shape (n_samples, n_tasks)
    rows : ndarray of shape (n_rows,), default=None
        Positions of the rows to take; None takes all.

    Returns
    -------
    InputStatistics
        The scale is ``sqrt(mean ||x - mean||^2 / 32)``; 0 where X is constant.
    """
    dtype = working_dtype(X.dtype)
    share = labels_per_row(signs if rows is None else signs[rows]).astype(np.float64)
    n_labels = sum(gather(share.sum()))
    if n_labels == 0:
        share = np.ones_like(share)
        n_labels = sum(gather(share.sum()))
    bound = max(gather(power_of_two_bound(X)))
    if bound == 0:
        n_features = X.shape[1]
        return InputStatistics(
            np.zeros(n_features, dtype=dtype), 0.0, np.ones(n_features, dtype=bool)
        )
    data = Rows(X, torch_dtype(dtype), "cpu", rows)
    moments = _sparse_moments if issparse(X) else _dense_moments
    mean, variance, is_constant = moments(data, share / n_labels, bound)
    scale = math.sqrt(float(variance.sum()) / INPUT_SQUARED_NORM)
    rounding = np.finfo(dtype).eps * float(mean[~is_constant].norm())
    return InputStatistics(
        (bound * mean).numpy().astype(dtype),
        bound * scale if scale > rounding else 0.0,
        is_constant.numpy(),
    )


def _dense_moments(
    data: Rows, share: np.ndarray, bound: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance, constancy of each feature of ``X / bound``, (n_features,) each.

    Parameters
    ----------
    data : Rows
    share : ndarray of shape (n_rows,)
        Weight of each row, summing to 1 over all ranks.
    bound : float
    """
    weights = torch.from_numpy(share)
    blocks = list(block_slices(len(data), data.width))

    def read(block: slice | Tensor) -> Tensor:
        return data.take(block).double() / bound

    counted = torch.from_numpy(np.flatnonzero(share)[:1])
    firsts = [first for first in gather(read(counted)) if len(first)]
    origin = firsts[0][0]
    shift, square = torch.zeros_like(origin), torch.zeros_like(origin)
    farthest = torch.zeros_like(origin)
    for block in blocks:
        away = read(block).sub_(origin)
        shift += weights[block] @ away
        away.abs_().mul_((weights[block] > 0)[:, None])
        farthest = torch.maximum(farthest, away.amax(0))
    farthest = torch.stack(gather(farthest)).amax(0)
    (shift,) = sum_over_ranks(shift)
    mean = origin + shift
    for block in blocks:
        square += weights[block] @ read(block).sub_(mean).square_()
    (square,) = sum_over_ranks(square)
    is_constant = farthest == 0
    return mean, square.masked_fill_(is_constant, 0), is_constant


def _sparse_moments(
    data: Rows, share: np.ndarray, bound: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The same of CSR rows; what is not stored is 0."""
    weights = torch.from_numpy(share)
    n_features = data.matrix.shape[1]
    blocks = list(block_slices(len(data), data.width))
    total, square, stored = torch.zeros(3, n_features, dtype=torch.float64)
    least = torch.full((n_features,), math.inf, dtype=torch.float64)
    most = -least
    n_stored = torch.zeros(n_features, dtype=torch.int64)

    def read(block: slice) -> tuple[Tensor, Tensor, Tensor]:
        rows = data.take(block)
        columns, of_rows = rows.col_indices().long(), weights[block][row_indices(rows)]
        return columns, of_rows, rows.values().double() / bound

    for block in blocks:
        columns, of_rows, values = read(block)
        total.index_add_(0, columns, of_rows * values)
        stored.index_add_(0, columns, of_rows)
        counts = of_rows > 0
        columns, values = columns[counts], values[counts]
        n_stored += torch.bincount(columns, minlength=n_features)
        least.scatter_reduce_(0, columns, values, "amin")
        most.scatter_reduce_(0, columns, values, "amax")
    n_rows = sum(gather(int((share > 0).sum())))
    mean, stored, n_stored = sum_over_ranks(total, stored, n_stored)
    is_full = n_stored.round().long() == n_rows
    least = torch.stack(gather(least)).amin(0)
    most = torch.stack(gather(most)).amax(0)
    if not is_full.all():
        least = torch.where(is_full, least, least.clamp(max=0))
        most = torch.where(is_full, most, most.clamp(min=0))
    is_constant = least == most
    mean = torch.where(is_constant, least, mean)
    for block in blocks:
        columns, of_rows, values = read(block)
        away = (values - mean[columns]).square_().mul_(of_rows)
        square.index_add_(0, columns, away)
    (square,) = sum_over_ranks(square)
    square += torch.where(is_full, 0, 1 - stored).clamp_(min=0) * mean.square()
    return mean, square.masked_fill_(is_constant, 0), is_constant


class PatchStatistics(NamedTuple):
    """What patches are centred and scaled by."""

    mean: float
    scale: float
    is_heavy: np.ndarray  # (patch_dim,), bool: constants that outweigh all others


def patch_statistics(
    X: np.ndarray,
    weights: np.ndarray,
    grid: PatchGrid,
    centre: bool,
    rows: np.ndarray | None = None,
) -> PatchStatistics:
    """Mean of all entries of patches, and the root of the mean squared norm of a patch.

    Both are those of the rows of all ranks. One number each: patches differ in what
    they show, not in units. An entry that is the same in all patches of all rows, as a
    constant channel, and outweighs all others together is left out of both.

    Parameters
    ----------
    X : ndarray of shape (n_samples, prod(input_shape))
    weights : ndarray of shape (n_rows,), summing to 1 over all ranks
    grid : PatchGrid
    centre : bool
        Whether the mean is subtracted before norms are taken; it is 0 otherwise.
    rows : ndarray of shape (n_rows,), default=None
        Positions of the rows to take; None takes all.

    Returns
    -------
    PatchStatistics
        ``scale`` is 0 where patches are constant.
    """
    dtype = working_dtype(X.dtype)
    places = grid.places()
    nowhere = np.zeros(grid.patch_dim, dtype=bool)
    bound = max(gather(power_of_two_bound(X)))
    if bound == 0:
        return PatchStatistics(0.0, 0.0, nowhere)
    data = Rows(X, torch_dtype(dtype), "cpu", rows)
    means, variances, is_constant = (
        moment.numpy() for moment in _dense_moments(data, weights, bound)
    )
    of_places = means[places]  # (n_positions, patch_dim)
    is_heavy = is_constant[places].all(axis=0) & (of_places == of_places[0]).all(axis=0)

    def summarise(kept: np.ndarray) -> tuple[float, float]:
        mean = float(of_places[:, kept].mean()) if centre and kept.any() else 0.0
        squares = variances[places[:, kept]] + (of_places[:, kept] - mean) ** 2
        return mean, float(squares.sum()) / grid.n_positions

    mean, squared_norm = summarise(~is_heavy)
    is_heavy &= (of_places[0] - mean) ** 2 > squared_norm
    if squared_norm == 0:  # nothing else is there
        is_heavy = nowhere
    mean, squared_norm = summarise(~is_heavy)
    scale = math.sqrt(squared_norm)
    rounding = 4 * np.finfo(dtype).eps * abs(mean) * math.sqrt(grid.patch_dim)
    return PatchStatistics(
        bound * mean, bound * scale if scale > rounding else 0.0, is_heavy
    )


def power_of_two_bound(X: Any) -> float:
    """A power of two below which half of the largest entry lies; 0 if all are 0.

    Divided by it, which is exact, no square can overflow.
    """
    values = X.data if issparse(X) else X
    if values.size == 0:
        return 0.0
    largest = max(float(values.max()), -float(values.min()))
    return math.ldexp(1, math.frexp(largest)[1] - 1) if largest > 0 else 0.0
