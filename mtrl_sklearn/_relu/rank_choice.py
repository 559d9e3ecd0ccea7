"""Where the first layer is cut: only where its source tasks lose nothing by it.

An edge in the spectrum of the first layer says where it could be cut. Whether it should
be is asked of what the cut is for: source tasks have to be predicted as well as by the
whole layer, on rows that were not trained on. Where rows were held out, these decide.
Where none were, the training rows decide if the cut layer is as good even there, since
the whole one has adapted to them more closely; if not, another network is trained on
three quarters of the rows, and judged on the last one.
"""

from collections.abc import Callable

import numpy as np
from scipy.sparse import issparse

from mtrl_sklearn._labels.roc_auc import pair_roc_auc
from mtrl_sklearn._relu.features import score_observed
from mtrl_sklearn._relu.network import ReLUNetwork
from mtrl_sklearn._relu.solution import (
    Finished,
    TaskData,
    Trained,
    finish,
    set_aside,
)
from mtrl_sklearn._relu.spectral import candidate_ranks
from mtrl_sklearn._training.state import State

# Mean ROC-AUC of source tasks that a cut may cost: half of a hundredth.
TOLERANCE = 0.005

# Share of the rows that a second network is judged on.
SHARE_ASIDE = 0.25

# Training rows with dense labels that are looked at: enough for the tolerance.
MAX_ROWS = 10_000


def choose_rank(
    trained: Trained,
    data: TaskData,
    n_components: int | str | None,
    state: State | None = None,
    retrain: Callable[[TaskData], Trained | None] | None = None,
) -> Finished:
    """Finish a network at the wanted rank, "auto" at one that costs nothing.

    Parameters
    ----------
    trained : Trained
    data : TaskData
    n_components : int, "auto" or None
        "auto" takes the first edge of the spectrum at which source tasks are predicted
        as well as without a cut, and does not cut without one.
    state : dict of ndarrays or None
        Of an earlier call, whose moments count.
    retrain : callable or None
        Trains a network anew on other rows; it returns None if that was interrupted.
        None leaves the decision to the training rows.
    """
    if not isinstance(n_components, str):
        return finish(trained, data, n_components, state)
    whole = finish(trained, data, None, state)
    aside: tuple[Trained, TaskData] | None = None
    for rank in candidate_ranks(whole.first_layer.singular_values):
        cut = finish(trained, data, rank, state)
        if _loss_of_cut(whole, cut, data) <= TOLERANCE:
            return cut
        if data.held_out is not None or retrain is None:
            continue
        if aside is None:
            part = set_aside(data, SHARE_ASIDE, seed=data.n_rows)
            again = retrain(part)
            if again is None:
                return whole
            aside = again, part
        pair = (finish(*aside, None), finish(*aside, rank))
        if _loss_of_cut(*pair, aside[1]) <= TOLERANCE:
            return cut
    return whole


def _loss_of_cut(whole: Finished, cut: Finished, data: TaskData) -> float:
    """Mean ROC-AUC of the whole layer less that of the cut one; NaN without pairs."""
    rows = data.held_out
    if rows is None:
        rows = _some_rows(data)
    before, after = (_task_roc_auc(network, data, rows) for network in (whole, cut))
    return float(np.nanmean(before - after)) if np.isfinite(before).any() else np.nan


def _some_rows(data: TaskData) -> np.ndarray:
    """Positions of training rows that are here, at most `MAX_ROWS` on all ranks."""
    start, n_here, n_rows = data.shard
    chosen = np.arange(n_rows)
    if n_rows > MAX_ROWS and not issparse(data.signs):
        chosen = np.linspace(0, n_rows - 1, MAX_ROWS).astype(np.intp)
    chosen = chosen[(chosen >= start) & (chosen < start + n_here)] - start
    return chosen if data.rows is None else data.rows[chosen]


def _task_roc_auc(network: Finished, data: TaskData, rows: np.ndarray) -> np.ndarray:
    """ROC-AUC of each task on the labels of some rows of all ranks, (n_tasks,)."""
    layers = ReLUNetwork(*network.first_layer[:2], *network.heads)
    _, *of_labels = score_observed(data.X[rows], layers, data.signs[rows])
    tasks, labels, scores = (
        np.concatenate(parts) for parts in zip(*data.group.gather(of_labels))
    )
    return pair_roc_auc(tasks, labels, scores, data.signs.shape[1])
