"""The size of a block of features, by which it is divided."""

import numpy as np


def block_scale(block: np.ndarray) -> float:
    """Root of the mean squared norm of centred rows; inf where all rows are the same.

    Values of a column are the same up to rounding errors of their type.
    """
    largest = float(np.abs(block).max())
    if largest == 0:
        return np.inf
    rows = block.astype(np.float64) / largest  # so that squares stay in range
    moved = rows - rows[0]  # of a constant exactly 0, which minus its mean is not
    spread = np.abs(moved).max(axis=0)
    varies = spread > 10 * np.finfo(block.dtype).eps * np.abs(rows).max(axis=0)
    if not varies.any():
        return np.inf
    centred = (moved - moved.mean(axis=0))[:, varies] / spread[varies].max()
    mean_square = np.square(centred).sum(axis=1).mean()
    return float(largest * spread[varies].max() * np.sqrt(mean_square))
