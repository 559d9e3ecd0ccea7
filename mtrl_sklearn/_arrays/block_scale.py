"""The size of a block of features, by which it is divided."""

import numpy as np
from scipy.sparse import csr_array, issparse

from mtrl_sklearn._arrays.centred import Block, column_means, move_full_columns


def block_scale(block: Block, row_weights: np.ndarray | None = None) -> float:
    """Root of the mean squared norm of centred rows; inf where all rows are the same.

    Values of a column are the same up to rounding errors of their type.

    Parameters
    ----------
    block : ndarray or CSR array of shape (n_samples, n_columns)
    row_weights : ndarray of shape (n_samples,), default=None
        How often each row counts, more than 0. None is once.
    """
    values = block.data if issparse(block) else block
    largest = float(np.abs(values).max(initial=0))
    if largest == 0:
        return np.inf
    if issparse(block):
        return largest * _scale_sparse(block, largest, row_weights)
    rows = block.astype(np.float64) / largest  # so that squares stay in range
    moved = rows - rows[0]  # of a constant exactly 0, which minus its mean is not
    spread = np.abs(moved).max(axis=0)
    varies = spread > 10 * np.finfo(block.dtype).eps * np.abs(rows).max(axis=0)
    if not varies.any():
        return np.inf
    centred = moved - np.average(moved, axis=0, weights=row_weights)
    centred = centred[:, varies] / spread[varies].max()
    squares = np.square(centred).sum(axis=1)
    mean_square = np.average(squares, weights=row_weights)
    return float(largest * spread[varies].max() * np.sqrt(mean_square))


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
