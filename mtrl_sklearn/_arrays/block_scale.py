"""The size of a block of features, by which it is divided."""

import numpy as np

from mtrl_sklearn._arrays.rows import LARGE_BLOCK_ENTRIES

MIN_COLUMNS = 16  # of a part: those of a row lie together in memory


def block_scale(block: np.ndarray, row_weights: np.ndarray | None = None) -> float:
    """Root of the mean squared norm of centred rows; inf where all rows are the same.

    Values of a column are the same up to rounding errors of their type.

    Parameters
    ----------
    block : ndarray of shape (n_samples, n_columns)
    row_weights : ndarray of shape (n_samples,), default=None
        How often each row counts, more than 0. None is once.
    """
    largest = max(float(block.max(initial=0)), -float(block.min(initial=0)))
    if largest == 0:
        return np.inf
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
