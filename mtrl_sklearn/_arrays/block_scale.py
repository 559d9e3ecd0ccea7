"""The size of a block of features, by which it is divided."""

import numpy as np


def block_scale(block: np.ndarray, row_weights: np.ndarray | None = None) -> float:
    """Root of the mean squared norm of centred rows; inf where all rows are the same.

    Values of a column are the same up to rounding errors of their type.

    Parameters
    ----------
    block : ndarray of shape (n_samples, n_columns)
    row_weights : ndarray of shape (n_samples,), default=None
        How often each row counts, more than 0. None is once.
    """
    largest = float(np.abs(block).max(initial=0))
    if largest == 0:
        return np.inf
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
