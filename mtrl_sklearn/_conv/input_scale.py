"""Centre and scale of the patches of the convolutional network."""

import math
from typing import NamedTuple

import numpy as np

from mtrl_sklearn._arrays.rows import Rows, torch_dtype, working_dtype
from mtrl_sklearn._conv.patches import PatchGrid
from mtrl_sklearn._group import ALONE, Group
from mtrl_sklearn._training.input_scale import WAITING, InputScale, settle, settled
from mtrl_sklearn._training.moments import dense_moments, power_of_two_bound
from mtrl_sklearn._training.state import State


def conv_scale(
    state: State | None,
    X: np.ndarray,
    weights: np.ndarray,
    grid: PatchGrid,
    centre: bool,
    rows: np.ndarray | None,
    group: Group = ALONE,
) -> InputScale:
    """Centre and scale of patches, see `patch_statistics` for the parameters.

    In later calls entries that were left out are so for as long as they are constant.
    """
    if state is not None and WAITING not in state:
        kept = settled(state, grid.patch_dim)
        is_unused = (state["filters"] == 0).all(axis=0)
        if not is_unused.any():
            return kept
        _, _, is_heavy = patch_statistics(X, weights, grid, centre, rows, group)
        return kept._replace(is_heavy=is_heavy & is_unused)
    mean, scale, is_heavy = patch_statistics(X, weights, grid, centre, rows, group)
    found = settle(state, mean, scale, sum(group.gather(len(weights))), grid.patch_dim)
    return found._replace(is_heavy=is_heavy)


class PatchStatistics(NamedTuple):
    """What patches are centred and scaled by."""

    mean: float
    scale: float
    is_heavy: np.ndarray  # (patch_dim,), bool: constants that outweigh all others


def patch_statistics(
    X: np.ndarray,
    weights: np.ndarray,
    grid: PatchGrid,
    centre: bool,
    rows: np.ndarray | None = None,
    group: Group = ALONE,
) -> PatchStatistics:
    """Mean of all entries of patches, and the root of the mean squared norm of a patch.

    Both are those of the rows of all ranks. One number each: patches differ in what
    they show, not in units. An entry that is the same in all patches of all rows, as a
    constant channel, and outweighs all others together is left out of both.

    Parameters
    ----------
    X : ndarray of shape (n_samples, prod(input_shape))
    weights : ndarray of shape (n_rows,), summing to 1 over all ranks
    grid : PatchGrid
    centre : bool
        Whether the mean is subtracted before norms are taken; it is 0 otherwise.
    group : Group
    rows : ndarray of shape (n_rows,), default=None
        Positions of the rows to take; None takes all.

    Returns
    -------
    PatchStatistics
        ``scale`` is 0 where patches are constant.
    """
    dtype = working_dtype(X.dtype)
    places = grid.places()
    nowhere = np.zeros(grid.patch_dim, dtype=bool)
    bound = max(group.gather(power_of_two_bound(X)))
    if bound == 0:
        return PatchStatistics(0.0, 0.0, nowhere)
    data = Rows(X, torch_dtype(dtype), "cpu", rows)
    means, variances, is_constant = (
        moment.numpy() for moment in dense_moments(data, weights, bound, group)
    )
    of_places = means[places]  # (n_positions, patch_dim)
    is_heavy = is_constant[places].all(axis=0) & (of_places == of_places[0]).all(axis=0)

    def summarise(kept: np.ndarray) -> tuple[float, float]:
        mean = float(of_places[:, kept].mean()) if centre and kept.any() else 0.0
        squares = variances[places[:, kept]] + (of_places[:, kept] - mean) ** 2
        return mean, float(squares.sum()) / grid.n_positions

    mean, squared_norm = summarise(~is_heavy)
    is_heavy &= (of_places[0] - mean) ** 2 > squared_norm
    if squared_norm == 0:  # nothing else is there
        is_heavy = nowhere
    mean, squared_norm = summarise(~is_heavy)
    scale = math.sqrt(squared_norm)
    rounding = 4 * np.finfo(dtype).eps * abs(mean) * math.sqrt(grid.patch_dim)
    return PatchStatistics(
        bound * mean, bound * scale if scale > rounding else 0.0, is_heavy
    )
