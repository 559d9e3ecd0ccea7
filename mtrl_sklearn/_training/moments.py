"""Mean, variance and constancy of the features of rows, in float64."""

import math
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from torch import Tensor

from mtrl_sklearn._arrays.products import row_indices
from mtrl_sklearn._arrays.rows import Rows, block_slices
from mtrl_sklearn._group import Group


def dense_moments(
    data: Rows, share: np.ndarray, bound: float, group: Group
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance, constancy of each feature of ``X / bound``, (n_features,) each.

    Parameters
    ----------
    data : Rows
    share : ndarray of shape (n_rows,)
        Weight of each row, summing to 1 over all ranks.
    bound : float
    group : Group
    """
    weights = torch.from_numpy(share)
    blocks = list(block_slices(len(data), data.width))

    def read(block: slice | Tensor) -> Tensor:
        return data.take(block).to(torch.float64, copy=True).div_(bound)

    counted = torch.from_numpy(np.flatnonzero(share)[:1])
    firsts = [first for first in group.gather(read(counted)) if len(first)]
    origin = firsts[0][0]
    shift, square = torch.zeros_like(origin), torch.zeros_like(origin)
    farthest = torch.zeros_like(origin)
    for block in blocks:
        away = read(block).sub_(origin)
        shift += weights[block] @ away
        counts = weights[block] > 0
        away = away.abs_() if counts.all() else away.abs_()[counts]
        if len(away):
            farthest = torch.maximum(farthest, away.amax(0))
    farthest = torch.stack(group.gather(farthest)).amax(0)
    (shift,) = group.sum(shift)
    mean = origin + shift
    for block in blocks:
        square += weights[block] @ read(block).sub_(mean).square_()
    (square,) = group.sum(square)
    is_constant = farthest == 0
    return mean, square.masked_fill_(is_constant, 0), is_constant


def sparse_moments(
    data: Rows, share: np.ndarray, bound: float, group: Group
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
    n_rows = sum(group.gather(int((share > 0).sum())))
    mean, stored, n_stored = group.sum(total, stored, n_stored)
    is_full = n_stored.round().long() == n_rows
    least = torch.stack(group.gather(least)).amin(0)
    most = torch.stack(group.gather(most)).amax(0)
    if not is_full.all():
        least = torch.where(is_full, least, least.clamp(max=0))
        most = torch.where(is_full, most, most.clamp(min=0))
    is_constant = least == most
    mean = torch.where(is_constant, least, mean)
    for block in blocks:
        columns, of_rows, values = read(block)
        away = (values - mean[columns]).square_().mul_(of_rows)
        square.index_add_(0, columns, away)
    (square,) = group.sum(square)
    square += torch.where(is_full, 0, 1 - stored).clamp_(min=0) * mean.square()
    return mean, square.masked_fill_(is_constant, 0), is_constant


def power_of_two_bound(X: Any) -> float:
    """A power of two below which half of the largest entry lies; 0 if all are 0.

    Divided by it, which is exact, no square can overflow.
    """
    values = X.data if issparse(X) else X
    if values.size == 0:
        return 0.0
    largest = max(float(values.max()), -float(values.min()))
    return math.ldexp(1, math.frexp(largest)[1] - 1) if largest > 0 else 0.0
