"""Centre and scale of the inputs of the ReLU network."""

import math
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse

from mtrl_sklearn._arrays.rows import Rows, torch_dtype, working_dtype
from mtrl_sklearn._group import ALONE, Group
from mtrl_sklearn._labels.signs import Signs, labels_per_row
from mtrl_sklearn._relu.task_data import TaskData
from mtrl_sklearn._training.input_scale import (
    HEAVY,
    WAITING,
    InputScale,
    settle,
    settled,
)
from mtrl_sklearn._training.moments import (
    dense_moments,
    power_of_two_bound,
    sparse_moments,
)
from mtrl_sklearn._training.state import State


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
        return settled(state, n_features)
    mean, scale, is_constant = input_statistics(
        data.X, data.signs, data.rows, data.group
    )
    found = settle(
        state, mean, scale, data.n_observed or data.n_inputs, 1 / INPUT_SQUARED_NORM
    )
    if not found.waiting:
        is_heavy = is_constant & (np.abs(mean) / HEAVY > found.scale)
        if state is not None:
            is_heavy &= mean == state["input_mean"]
        found = found._replace(is_heavy=is_heavy)
    return found


# Inputs are scaled to this mean squared norm. Adam moves every weight by about the
# learning rate per step, so without a fixed input scale no learning rate fits all data.
INPUT_SQUARED_NORM = 32.0


class InputStatistics(NamedTuple):
    """What inputs are centred and scaled by."""

    mean: np.ndarray  # (n_features,)
    scale: float
    is_constant: np.ndarray  # (n_features,), bool: the same in all rows with labels


def input_statistics(
    X: Any, signs: Signs, rows: np.ndarray | None = None, group: Group = ALONE
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
    group : Group, default=ALONE

    Returns
    -------
    InputStatistics
        The scale is ``sqrt(mean ||x - mean||^2 / 32)``; 0 where X is constant.
    """
    dtype = working_dtype(X.dtype)
    share = labels_per_row(signs if rows is None else signs[rows]).astype(np.float64)
    n_labels = sum(group.gather(share.sum()))
    if n_labels == 0:
        share = np.ones_like(share)
        n_labels = sum(group.gather(share.sum()))
    bound = max(group.gather(power_of_two_bound(X)))
    if bound == 0:
        n_features = X.shape[1]
        return InputStatistics(
            np.zeros(n_features, dtype=dtype), 0.0, np.ones(n_features, dtype=bool)
        )
    data = Rows(X, torch_dtype(dtype), "cpu", rows)
    moments = sparse_moments if issparse(X) else dense_moments
    mean, variance, is_constant = moments(data, share / n_labels, bound, group)
    scale = math.sqrt(float(variance.sum()) / INPUT_SQUARED_NORM)
    rounding = np.finfo(dtype).eps * float(mean[~is_constant].norm())
    return InputStatistics(
        (bound * mean).numpy().astype(dtype),
        bound * scale if scale > rounding else 0.0,
        is_constant.numpy(),
    )
