"""Where the first layer is cut: only where its source tasks lose nothing by it.

An edge in the spectrum of the first layer says where it could be cut. Whether it should
be is asked of what the cut is for: source tasks have to be predicted as well as by the
whole layer, on rows that were not trained on. Where rows were held out, these decide.
Where none were, a quarter of the training rows decides if the cut layer, with heads
found on the others, is as good even there, where the whole network has seen the labels;
if not, another network is trained on the others, and judged on that quarter.
"""

from collections.abc import Callable

import numpy as np
from scipy.sparse import issparse

from mtrl_sklearn._labels.indicator import is_indicator, stack_indicators
from mtrl_sklearn._labels.roc_auc import indicator_roc_auc, pair_roc_auc
from mtrl_sklearn._relu.features import (
    hidden_features,
    score_observed,
    score_tasks,
)
from mtrl_sklearn._relu.network import ReLUNetwork
from mtrl_sklearn._relu.solution import Finished, Trained, finish
from mtrl_sklearn._relu.spectral import candidate_ranks
from mtrl_sklearn._relu.task_data import TaskData, set_aside
from mtrl_sklearn._training.state import State

# Mean ROC-AUC of source tasks that a cut may cost: half of a hundredth.
TOLERANCE = 0.005

# Share of the rows that a second network is judged on.
SHARE_ASIDE = 0.25

# Rows with dense labels that are looked at: enough for the tolerance.
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
        None leaves the decision to this one.
    """
    if not isinstance(n_components, str):
        return finish(trained, data, n_components, state)
    whole = finish(trained, data, None, state)
    part, again = data, None
    for rank in candidate_ranks(whole.first_layer.singular_values):
        if part.held_out is None:
            part = set_aside(data, SHARE_ASIDE, seed=0)
        cut = finish(trained._replace(rows=None), part, rank, state)
        if _loss_of_cut(whole, cut, part) <= TOLERANCE:
            return finish(trained, data, rank, state)
        if data.held_out is not None or retrain is None:
            continue
        again = again or retrain(part)
        if again is None:
            return whole
        pair = (finish(again, part, None), finish(again, part, rank))
        if _loss_of_cut(*pair, part) <= TOLERANCE:
            return finish(trained, data, rank, state)
    return whole


def _loss_of_cut(whole: Finished, cut: Finished, data: TaskData) -> float:
    """Mean ROC-AUC of the whole layer less that of the cut one; NaN without pairs."""
    rows = _some_rows(data)
    before, after = (_task_roc_auc(network, data, rows) for network in (whole, cut))
    return float(np.nanmean(before - after)) if np.isfinite(before).any() else np.nan


def _some_rows(data: TaskData) -> np.ndarray:
    """Positions of rows held out that are here, about `MAX_ROWS` on all ranks."""
    rows = np.asarray(data.held_out)
    if issparse(data.signs):
        return rows
    n_rows = sum(data.group.gather(len(rows)))
    return rows[:: max(n_rows // MAX_ROWS, 1)]


def _task_roc_auc(network: Finished, data: TaskData, rows: np.ndarray) -> np.ndarray:
    """ROC-AUC of each task on the labels of some rows of all ranks, (n_tasks,)."""
    layers = ReLUNetwork(*network.first_layer[:2], *network.heads)
    X, signs = data.X[rows], data.signs[rows]
    if is_indicator(signs):
        hidden = np.concatenate(data.group.gather(hidden_features(X, layers)))
        signs = stack_indicators(data.group.gather(signs))
        return indicator_roc_auc(signs, score_tasks(hidden, layers))
    _, *of_labels = score_observed(X, layers, signs)
    tasks, labels, scores = (
        np.concatenate(parts) for parts in zip(*data.group.gather(of_labels))
    )
    return pair_roc_auc(tasks, labels, scores, data.signs.shape[1])
