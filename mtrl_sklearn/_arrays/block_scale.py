"""The size of a block of features, by which it is divided."""

import numpy as np
from scipy.sparse import csr_array, issparse

from mtrl_sklearn._arrays.centred import (
    Block,
    column_means,
    move_full_columns,
    move_to_first,
)
from mtrl_sklearn._arrays.computed import Computed, is_computed
from mtrl_sklearn._arrays.rows import LARGE_BLOCK_ENTRIES

MIN_COLUMNS = 16  # of a part: those of a row lie together in memory


def block_scale(block: Block, row_weights: np.ndarray | None = None) -> float:
    """Root of the mean squared norm of centred rows; inf where all rows are the same.

    Values of a column are the same up to rounding errors of their type.

    Parameters
    ----------
    block : ndarray, CSR array or Computed of shape (n_samples, n_columns)
    row_weights : ndarray of shape (n_samples,), default=None
        How often each row counts, more than 0. None is once.
    """
    if is_computed(block):
        return _scale_computed(block, row_weights)
    values = np.asarray(block.data if issparse(block) else block)
    largest = max(float(values.max(initial=0)), -float(values.min(initial=0)))
    if largest == 0:
        return np.inf
    if issparse(block):
        return largest * _scale_sparse(block, largest, row_weights)
    eps = 10 * np.finfo(block.dtype).eps
    parts = _column_slices(block)
    moved, spread, varies = _move(block[:, parts[0]], largest, eps)
    found = [(spread, varies)]
    found += [_move(block[:, part], largest, eps)[1:] for part in parts[1:]]
    widest = [spread[varies].max(initial=0) for spread, varies in found]
    if max(widest) == 0:
        return np.inf
    squares = np.zeros(len(block))
    for part, (_, varies) in zip(parts, found):
        if len(parts) > 1:
            moved = _move(block[:, part], largest, eps)[0]
        moved -= np.average(moved, axis=0, weights=row_weights)
        centred = moved[:, varies]
        centred /= max(widest)
        squares += np.square(centred, out=centred).sum(axis=1)
    mean_square = np.average(squares, weights=row_weights)
    return float(largest * max(widest) * np.sqrt(mean_square))


def _move(
    part: np.ndarray, largest: float, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows less the first one, over ``largest``; spread of columns; which vary."""
    rows = part.astype(np.float64)
    rows /= largest  # so that squares stay in range
    size = np.maximum(rows.max(axis=0), -rows.min(axis=0))
    rows -= rows[0].copy()  # of a constant exactly 0, which minus its mean is not
    spread = np.maximum(rows.max(axis=0), -rows.min(axis=0))
    return rows, spread, spread > eps * size


def _column_slices(block: np.ndarray) -> list[slice]:
    """Parts of few entries: one of a small block."""
    width = max(LARGE_BLOCK_ENTRIES // len(block), MIN_COLUMNS)
    return [slice(k, k + width) for k in range(0, block.shape[1], width)]


def _scale_computed(block: Computed, row_weights: np.ndarray | None) -> float:
    """The same of a block of which rows are computed, all of them once."""
    moved, origin = move_to_first(block, 1.0)
    weights = np.ones(len(block)) if row_weights is None else row_weights
    sums, squares, low, high = np.zeros((4, block.shape[1]))
    for part, rows in moved.parts():
        low, high = np.minimum(low, rows.min(axis=0)), np.maximum(high, rows.max(0))
        sums += weights[part] @ rows
        squares += weights[part] @ np.square(rows, out=rows)
    spread = np.maximum(high, -low)
    size = np.maximum(np.abs(high + origin), np.abs(low + origin))
    varies = spread > 10 * np.finfo(block.dtype).eps * size
    if not varies.any():
        return np.inf
    total = weights.sum()
    deviations = squares[varies] - np.square(sums[varies]) / total
    return float(np.sqrt(deviations.sum() / total))


def _scale_sparse(
    block: csr_array, largest: float, row_weights: np.ndarray | None
) -> float:
    """The same of a sparse block that is divided by its largest absolute value."""
    eps = np.finfo(block.dtype).eps
    moved, origin = move_full_columns(block.astype(np.float64) / largest)
    first = moved[[0]].toarray()[0]
    low, high = (
        extreme(axis=0).toarray().ravel() for extreme in (moved.min, moved.max)
    )
    spread = np.maximum(high - first, first - low)
    size = np.maximum(np.abs(low + origin), np.abs(high + origin))
    varies = spread > 10 * eps * size
    if not varies.any():
        return np.inf
    widest = spread[varies].max()
    weights = np.ones(moved.shape[0]) if row_weights is None else row_weights
    mean = column_means(moved, weights) / widest
    of_entry = np.repeat(weights, np.diff(moved.indptr))
    n_implied = weights.sum() - np.bincount(moved.indices, of_entry, len(mean))
    deviations = moved.data / widest - mean[moved.indices]
    squares = of_entry * np.square(deviations) * varies[moved.indices]
    total = squares.sum() + (n_implied * np.square(mean))[varies].sum()
    return float(widest * np.sqrt(total / weights.sum()))
