"""Centre and scale of inputs in training, which wait for rows that vary.

Rows that are all equal, as a first batch of one row, have no scale: training starts
with a scale of 1, by which they are all 0, and takes both from the rows so far once
some of these vary. Until then the state of a fit has the number of rows behind the
centre under the key `WAITING`.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import norm
from scipy.sparse import issparse

from mtrl_sklearn._modules import (
    INPUT_SQUARED_NORM,
    input_statistics,
    patch_statistics,
)
from mtrl_sklearn._patches import PatchGrid
from mtrl_sklearn._ranks import gather
from mtrl_sklearn._rows import working_dtype
from mtrl_sklearn._signs import labels_per_row
from mtrl_sklearn._solution import State, TaskData

WAITING = "n_waiting"


class InputScale(NamedTuple):
    """Inputs are centred by the mean and divided by the scale."""

    mean: Any  # ndarray of shape (n_features,), or a number
    scale: float
    waiting: State  # empty, or what the state remembers while all rows were equal


def relu_scale(state: State | None, data: TaskData) -> InputScale:
    """Centre and scale of inputs of the ReLU network, see `input_statistics`.

    Parameters
    ----------
    state : dict of ndarrays or None
        That of an earlier call.
    data : TaskData
    """

    def vary() -> bool:
        positions = np.arange(data.X.shape[0]) if data.rows is None else data.rows
        if data.n_observed:  # else all rows count
            positions = positions[labels_per_row(data.signs[positions]) > 0]
        return _range(data.X[positions], axis=0) > 0

    return _settle(
        state,
        lambda: input_statistics(data.X, data.signs, data.rows),
        vary,
        data.n_observed or data.n_rows,
        1 / INPUT_SQUARED_NORM,
        data.X.dtype,
    )


def conv_scale(
    state: State | None,
    X: np.ndarray,
    weights: np.ndarray,
    grid: PatchGrid,
    centre: bool,
    rows: np.ndarray | None,
) -> InputScale:
    """Centre and scale of patches, see `patch_statistics` for the parameters."""

    def vary() -> bool:
        positions = np.arange(len(X)) if rows is None else rows
        counted = X[positions[weights > 0]]
        return _range(counted) > 0 if centre else any(gather(bool(counted.any())))

    return _settle(
        state,
        lambda: patch_statistics(X, weights, grid, centre, rows),
        vary,
        sum(gather(len(weights))),
        grid.patch_dim,
        X.dtype,
    )


def _settle(
    state: State | None,
    find: Callable[[], tuple[Any, float]],
    vary: Callable[[], bool],
    n_here: int,
    weight: float,
    dtype: np.dtype,
) -> InputScale:
    """Centre and scale that are settled, or those of the rows so far.

    Parameters
    ----------
    state : dict of ndarrays or None
    find : callable
        Returns mean and scale of the rows at hand, a scale of 1 if they are constant.
    vary : callable
        Tells rows that are constant from those that have a scale of 1.
    n_here : int
        Their number.
    weight : float
        Of a squared distance from the mean in the square of the scale.
    dtype : dtype of the inputs
    """
    n_before = 0.0 if state is None else float(state.get(WAITING, 0))
    if state is not None and not n_before:
        return InputScale(state["input_mean"], float(state["input_scale"]), {})
    mean, scale = find()
    if scale == 1 and not vary():
        scale = 0.0
    if state is not None:  # rows that were all equal to their mean
        share = n_here / (n_here + n_before)
        before = np.asarray(state["input_mean"], dtype=np.float64)
        gap = np.atleast_1d(mean - before)
        distance = math.sqrt(share * (1 - share) * weight) * float(norm(gap))
        scale = math.hypot(math.sqrt(share) * scale, distance)
        mean = before + share * (mean - before)
    eps = np.finfo(working_dtype(dtype)).eps
    rounding = 4 * eps * math.sqrt(weight) * float(norm(np.atleast_1d(mean)))
    if scale > rounding:
        return InputScale(mean, scale, {})
    return InputScale(mean, 1.0, {WAITING: np.array(n_before + n_here)})


def _range(X: Any, axis: int | None = None) -> float:
    """Largest difference of two rows of all ranks, in a column or of all entries.

    What rounding of the largest entry makes of equal rows counts as 0.
    """
    ends = None
    if X.shape[0]:
        ends = [_dense(extreme(axis=axis)) for extreme in (X.min, X.max)]
    lows, highs = zip(*(pair for pair in gather(ends) if pair is not None))
    low, high = np.min(lows, axis=0), np.max(highs, axis=0)
    size = max(np.abs(low).max(), np.abs(high).max())
    difference = (high - low).max()
    rounding = np.finfo(working_dtype(X.dtype)).eps * size
    return float(difference) if difference > rounding else 0.0


def _dense(extremes: Any) -> np.ndarray:
    dense = extremes.toarray().ravel() if issparse(extremes) else extremes
    return np.asarray(dense, dtype=np.float64)
