"""Centre and scale of inputs in training, which wait for rows that vary.

Rows that are all equal, as a first batch of one row, have no scale: training starts
with a scale of 1, by which they are all 0, and takes both from the rows so far once
some of these vary. Until then the state of a fit has the number of rows behind the
centre under the key `WAITING`.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import norm

from mtrl_sklearn._modules import (
    INPUT_SQUARED_NORM,
    input_statistics,
    patch_statistics,
)
from mtrl_sklearn._patches import PatchGrid
from mtrl_sklearn._ranks import gather
from mtrl_sklearn._solution import State, TaskData

WAITING = "n_waiting"


# A constant feature that is so many times the scale takes no part in a network: what
# rounding leaves of its products would drown all others.
HEAVY = 1e3


class InputScale(NamedTuple):
    """Inputs are centred by the mean and divided by the scale."""

    mean: Any  # ndarray of shape (n_features,), or a number
    scale: float
    waiting: State  # empty, or what the state remembers while all rows were equal
    is_heavy: np.ndarray  # bool: features, or entries of a patch, without any weight


def relu_scale(state: State | None, data: TaskData) -> InputScale:
    """Centre and scale of inputs of the ReLU network, see `input_statistics`.

    Parameters
    ----------
    state : dict of ndarrays or None
        That of an earlier call.
    data : TaskData
    """
    n_features = data.X.shape[1]
    if state is not None and WAITING not in state:
        return _settled(state, n_features)
    mean, scale, is_constant = input_statistics(data.X, data.signs, data.rows)
    found = _settle(
        state, mean, scale, data.n_observed or data.n_rows, 1 / INPUT_SQUARED_NORM
    )
    if not found.waiting:
        is_heavy = is_constant & (np.abs(mean) / HEAVY > found.scale)
        if state is not None:
            is_heavy &= mean == state["input_mean"]
        found = found._replace(is_heavy=is_heavy)
    return found


def conv_scale(
    state: State | None,
    X: np.ndarray,
    weights: np.ndarray,
    grid: PatchGrid,
    centre: bool,
    rows: np.ndarray | None,
) -> InputScale:
    """Centre and scale of patches, see `patch_statistics` for the parameters.

    In later calls entries that were left out are so for as long as they are constant.
    """
    if state is not None and WAITING not in state:
        settled = _settled(state, grid.patch_dim)
        is_unused = (state["filters"] == 0).all(axis=0)
        if not is_unused.any():
            return settled
        _, _, is_heavy = patch_statistics(X, weights, grid, centre, rows)
        return settled._replace(is_heavy=is_heavy & is_unused)
    mean, scale, is_heavy = patch_statistics(X, weights, grid, centre, rows)
    found = _settle(state, mean, scale, sum(gather(len(weights))), grid.patch_dim)
    return found._replace(is_heavy=is_heavy)


def _settled(state: State, n_features: int) -> InputScale:
    no_feature = np.zeros(n_features, dtype=bool)
    return InputScale(state["input_mean"], float(state["input_scale"]), {}, no_feature)


def _settle(
    state: State | None, mean: Any, scale: float, n_here: int, weight: float
) -> InputScale:
    """Centre and scale of the rows so far, which wait if all of them are equal.

    Parameters
    ----------
    state : dict of ndarrays or None
        Of calls in which all rows were equal to their mean.
    mean, scale
        Those of the rows at hand; a scale of 0 if they are all equal.
    n_here : int
        Their number.
    weight : float
        Of a squared distance from the mean in the square of the scale.
    """
    no_feature = np.zeros(np.atleast_1d(mean).shape, dtype=bool)
    n_before = 0.0
    if state is not None:
        n_before = float(state[WAITING])
        share = n_here / (n_here + n_before)
        eps = np.finfo(state["input_mean"].dtype).eps
        before = np.asarray(state["input_mean"], dtype=np.float64)
        gap = np.atleast_1d(mean - before)
        size = np.maximum(np.abs(mean), np.abs(before))
        gap = np.where(np.abs(gap) > 4 * eps * size, gap, 0)
        distance = math.sqrt(share * (1 - share) * weight) * float(norm(gap))
        scale = math.hypot(math.sqrt(share) * scale, distance)
        mean = before + share * gap.reshape(np.shape(mean))
    if scale > 0:
        return InputScale(mean, scale, {}, no_feature)
    return InputScale(mean, 1.0, {WAITING: np.array(n_before + n_here)}, no_feature)
