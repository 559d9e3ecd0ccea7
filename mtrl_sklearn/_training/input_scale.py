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

from mtrl_sklearn._training.state import State

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


def settled(state: State, n_features: int) -> InputScale:
    no_feature = np.zeros(n_features, dtype=bool)
    return InputScale(state["input_mean"], float(state["input_scale"]), {}, no_feature)


def settle(
    state: State | None, mean: Any, scale: float, n_here: float, weight: float
) -> InputScale:
    """Centre and scale of the rows so far, which wait if all of them are equal.

    Parameters
    ----------
    state : dict of ndarrays or None
        Of calls in which all rows were equal to their mean.
    mean, scale
        Those of the rows at hand; a scale of 0 if they are all equal.
    n_here : float
        Their number, or the weight of their labels.
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
