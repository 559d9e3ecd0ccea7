"""Area under the ROC curve of many tasks: all scores of this package are taken here.

It is the probability that a positive scores higher than a negative, ties counted half.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning

from mtrl_sklearn._labels.indicator import Indicator, is_indicator
from mtrl_sklearn._labels.signs import Signs, labels_per_row, row_blocks
from mtrl_sklearn._warnings import warn_user

# Labels that are sorted together, where not those of one task are more.
SORTED_LABELS = 2**19


def mean_roc_auc(
    signs: Signs, scores: np.ndarray, sample_weight: np.ndarray | None = None
) -> float:
    """Mean over the tasks of which both classes are observed; NaN without any.

    Parameters
    ----------
    signs : Signs of shape (n_samples, n_tasks)
        With weights if they are floats, as in the functions below.
    scores : ndarray of shape (n_samples, n_tasks), or (n_observed,)
        For a CSR array those of its labels, in their order.
    sample_weight : ndarray of shape (n_samples,), default=None
    """
    if is_indicator(signs):
        of_task = indicator_roc_auc(signs, lambda part: scores[:, part], sample_weight)
    elif isinstance(signs, np.ndarray):
        of_task = table_roc_auc(signs, scores, sample_weight)
    else:
        weights = sample_weight
        if weights is not None:
            weights = np.repeat(weights, labels_per_row(signs))
        tasks, n_tasks = signs.indices, signs.shape[1]
        of_task = pair_roc_auc(tasks, signs.data, scores, n_tasks, weights)
    return mean_of_defined(of_task)


def mean_of_defined(of_task: np.ndarray) -> float:
    """Mean over the tasks that have a score; NaN without any."""
    defined = ~np.isnan(of_task)
    return float(of_task[defined].mean()) if defined.any() else float("nan")


def warn_if_undefined(score: float) -> float:
    """The score, of which the caller is told where it is NaN."""
    if np.isnan(score):
        warn_user(
            "No task shows labels of both classes, so that the score is NaN. Pass more "
            "rows, and labels of tasks that were part of fit.",
            UndefinedMetricWarning,
        )
    return score


def indicator_roc_auc(
    signs: Indicator,
    score: Callable[[slice], np.ndarray],
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """ROC-AUC of each task; neither all labels nor all scores are ever at hand.

    Without weights only scores are sorted, and those of positives are looked up.

    Parameters
    ----------
    signs : Indicator of shape (n_samples, n_tasks)
    score : callable
        Called with slices of tasks; returns their scores, (n_samples, n_of_these).
    weights : ndarray of shape (n_samples,), default=None

    Returns
    -------
    ndarray of shape (n_tasks,), float64
        NaN for a task without labels, or without weight, of either class.
    """
    n_samples, n_tasks = signs.shape
    of_task = np.full(n_tasks, np.nan)
    positive = signs.positive.tocsc()
    size = max(1, SORTED_LABELS // max(n_samples, 1))
    for start in range(0, n_tasks if n_samples else 0, size):
        part = slice(start, min(start + size, n_tasks))
        scores = score(part)
        if weights is not None:
            signs_of_part = np.where(positive[:, part].toarray(), 1, signs.others[part])
            of_task[part] = table_roc_auc(signs_of_part, scores, weights)
            continue
        _check_ranked(int(np.isnan(scores[:, signs.others[part] != 0]).sum()))
        ranked = np.sort(np.ascontiguousarray(scores.T), axis=1)
        for k in np.flatnonzero(signs.others[part]):
            stored = slice(*positive.indptr[start + k : start + k + 2])
            high = scores[positive.indices[stored], k]
            of_task[start + k] = _share_of_won_pairs(ranked[k], high)
    return of_task


def compare_roc_auc(positive: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """ROC-AUC of many scores of the same labels, to float32.

    Numbers of float32 are integers of the same order, with a bit for the class of each
    beside them. Sorted with equal positives above and below negatives, they tell how
    many pairs are won or tied, and lost or tied.

    Parameters
    ----------
    positive : ndarray of shape (n_samples,), bool
    scores : ndarray of shape (n_scores, n_samples)
        Equal scores count half.

    Returns
    -------
    ndarray of shape (n_scores,), float64
        NaN without labels of both classes.

    Raises
    ------
    ValueError
        If a score is NaN.
    """
    _check_ranked(int(np.isnan(scores).sum()))
    bits = (scores.astype(np.float32) + np.float32(0)).view(np.int32).astype(np.int64)
    keys = 2 * np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
    places = np.arange(scores.shape[1])

    def count_pairs(above: np.ndarray) -> np.ndarray:
        """Pairs in which one of these is not below one of the others."""
        n = above.sum()
        pairs: np.ndarray = (np.sort(keys + above, axis=1) & 1) @ places
        return pairs - n * (n - 1) // 2

    n_pairs = positive.sum() * (~positive).sum()
    won = count_pairs(positive) + n_pairs - count_pairs(~positive)
    empty = np.full(len(scores), np.nan)
    return np.divide(won, 2 * n_pairs, out=empty, where=n_pairs > 0)


def _share_of_won_pairs(ranked: np.ndarray, high: np.ndarray) -> float:
    """ROC-AUC of positives among all scores, which are sorted; NaN without a class."""
    n_high, n_low = len(high), len(ranked) - len(high)
    if not n_high or not n_low:
        return float("nan")
    below = np.searchsorted(ranked, high, "left").sum()
    up_to = np.searchsorted(ranked, high, "right").sum()
    won = (below + up_to - n_high**2) / 2  # less the pairs of two positives
    return float(won / (n_high * n_low))


def pair_roc_auc(
    tasks: np.ndarray,
    signs: np.ndarray,
    scores: np.ndarray,
    n_tasks: int,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """ROC-AUC of each task, from its observed labels in any order.

    Parameters
    ----------
    tasks : ndarray of shape (n_labels,), int
        Position of the task of each label.
    signs : ndarray of shape (n_labels,)
    scores : ndarray of shape (n_labels,)
        Equal scores count half.
    n_tasks : int
    weights : ndarray of shape (n_labels,), default=None

    Returns
    -------
    ndarray of shape (n_tasks,), float64
        NaN for a task without labels, or without weight, of either class.

    Raises
    ------
    ValueError
        If a score is NaN.
    """
    _check_ranked(int(np.isnan(scores).sum()))
    if len(tasks) <= SORTED_LABELS:
        return _roc_auc_of_pairs(tasks, signs, scores, n_tasks, weights)
    order = tasks.astype(np.min_scalar_type(n_tasks)).argsort(kind="stable")
    stops = np.cumsum(np.bincount(tasks, minlength=n_tasks))
    of_task, first, start = np.empty(n_tasks), 0, 0
    while first < n_tasks:  # a block of tasks, of which all labels are at hand
        last = int(np.searchsorted(stops, start + SORTED_LABELS, side="right"))
        last = max(last, first + 1)
        labels, start = order[start : stops[last - 1]], int(stops[last - 1])
        of_task[first:last] = _roc_auc_of_pairs(
            tasks[labels] - first,
            signs[labels],
            scores[labels],
            last - first,
            None if weights is None else weights[labels],
        )
        first = last
    return of_task


class Placements(NamedTuple):
    """Where labels stand among those of the other class of their task."""

    placements: np.ndarray  # (n_labels,), share of pairs won; NaN without a pair
    shares: np.ndarray  # (n_labels,), of the weight of the class in the task


def find_placements(
    tasks: np.ndarray, signs: np.ndarray, scores: np.ndarray, n_tasks: int
) -> Placements:
    """Share of negatives below each positive, and of positives above each negative.

    Equal scores count half. The mean over either class is the ROC-AUC of a task (DeLong
    et al., Biometrics 44, 1988, whose components these are).

    Parameters
    ----------
    tasks : ndarray of shape (n_labels,), int
        Position of the task of each label.
    signs : ndarray of shape (n_labels,)
        Times weights.
    scores : ndarray of shape (n_labels,)
    n_tasks : int
    """
    order = np.lexsort((scores, tasks))
    sorted_tasks, sorted_scores = tasks[order], scores[order]
    weights = np.abs(signs[order].astype(np.float64))
    is_high = signs[order] > 0
    is_new = np.ones(len(order), dtype=bool)
    is_new[1:] = np.diff(sorted_tasks) != 0
    is_new[1:] |= np.diff(sorted_scores) != 0
    ties = np.cumsum(is_new) - 1
    below, totals = [], []
    for w in (weights * is_high, weights * ~is_high):
        of_ties = np.bincount(ties, w)
        of_task = np.bincount(sorted_tasks, w, n_tasks)
        before = np.cumsum(of_ties) - of_ties / 2
        below.append(before[ties] - (np.cumsum(of_task) - of_task)[sorted_tasks])
        totals.append(of_task[sorted_tasks])
    (high, low), (n_high, n_low) = below, totals
    won = np.where(is_high, low, n_high - high)
    n_others = np.where(is_high, n_low, n_high)
    found = np.empty((2, len(order)))
    found[0, order] = np.divide(
        won, n_others, out=np.full(len(order), np.nan), where=n_others > 0
    )
    found[1, order] = weights / np.where(is_high, n_high, n_low)
    return Placements(*found)


def table_roc_auc(
    signs: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """ROC-AUC of each task over its observed labels, a block of tasks at a time.

    Parameters
    ----------
    signs : ndarray of shape (n_samples, n_tasks)
    scores : ndarray of shape (n_samples, n_tasks)
        Equal scores count half.
    weights : ndarray of shape (n_samples,), default=None

    Returns
    -------
    ndarray of shape (n_tasks,), float64
        NaN for a task without labels, or without weight, of either class.

    Raises
    ------
    ValueError
        If the score of an observed label is NaN.
    """
    blocks = row_blocks(scores)
    _check_ranked(
        sum(int((np.isnan(scores[rows]) & (signs[rows] != 0)).sum()) for rows in blocks)
    )
    n_samples, n_tasks = signs.shape
    of_task = np.full(n_tasks, np.nan)
    size = max(1, SORTED_LABELS // max(n_samples, 1))
    for start in range(0, n_tasks if n_samples else 0, size):
        part = np.s_[:, start : start + size]
        of_task[part[1]] = _roc_auc_of_columns(signs[part], scores[part], weights)
    return of_task


def _check_ranked(n_nan: int) -> None:
    """Refuse observed labels of which the score is NaN, by their number."""
    if n_nan:
        raise ValueError(
            f"{n_nan} scores of observed labels are NaN, which has no rank. Check the "
            "estimator: it may have diverged."
        )


def _roc_auc_of_columns(
    signs: np.ndarray, scores: np.ndarray, weights: np.ndarray | None
) -> np.ndarray:
    """`table_roc_auc` of few tasks."""
    signs, scores = np.ascontiguousarray(signs.T), np.ascontiguousarray(scores.T)
    if (missing := signs == 0).any():
        scores = np.where(missing, np.nan, scores)  # last, and of no weight
    order = scores.argsort(axis=1)
    scores = np.take_along_axis(scores, order, axis=1)
    signs = np.take_along_axis(signs, order, axis=1)
    if signs.dtype.kind == "f":
        by_class = np.array([signs.clip(min=0), -signs.clip(max=0)], dtype=np.float64)
    else:
        by_class = np.array([signs > 0, signs < 0], dtype=np.float64)
    if weights is not None:
        by_class *= weights[order]
    if weights is not None or signs.dtype.kind == "f":
        total = by_class.sum(axis=2, keepdims=True)
        by_class /= np.where(total > 0, total, 1)
    tasks = np.repeat(np.arange(len(signs)), signs.shape[1])
    return _sum_won_pairs(tasks, scores.ravel(), by_class.reshape(2, -1), len(signs))


def _roc_auc_of_pairs(
    tasks: np.ndarray,
    signs: np.ndarray,
    scores: np.ndarray,
    n_tasks: int,
    weights: np.ndarray | None,
) -> np.ndarray:
    """`pair_roc_auc` of few labels."""
    positive = signs > 0
    if signs.dtype.kind == "f":
        weights = np.abs(signs) if weights is None else np.abs(signs) * weights
    if weights is None:
        weights = np.ones(len(signs))
    else:
        # of its class in its task: sums over all tasks stay exact enough for each
        of_class = 2 * tasks + positive
        total = np.bincount(of_class, weights, 2 * n_tasks)
        weights = weights / np.where(total > 0, total, 1)[of_class]
    order = np.lexsort((scores, tasks))
    by_class = np.where([positive[order], ~positive[order]], weights[order], 0.0)
    return _sum_won_pairs(tasks[order], scores[order], by_class, n_tasks)


def _sum_won_pairs(
    tasks: np.ndarray, scores: np.ndarray, by_class: np.ndarray, n_tasks: int
) -> np.ndarray:
    """Share of pairs that positives win, of labels sorted by task and score.

    Parameters
    ----------
    tasks, scores : ndarrays of shape (n_labels,)
    by_class : ndarray of shape (2, n_labels)
        Weight of each label as a positive and as a negative.
    n_tasks : int
    """
    is_tied = (tasks[1:] == tasks[:-1]) & (scores[1:] == scores[:-1])
    first = np.flatnonzero(np.append(True, ~is_tied)[: len(tasks)])
    if len(first) < len(tasks):
        by_class = np.add.reduceat(by_class, first, axis=1)  # weights of equal scores
        tasks = tasks[first]
    high, low = by_class
    n_high, n_low = (np.bincount(tasks, w, n_tasks) for w in (high, low))
    lower = np.cumsum(low) - low / 2 - (np.cumsum(n_low) - n_low)[tasks]
    won, n_pairs = np.bincount(tasks, high * lower, n_tasks), n_high * n_low
    return np.divide(won, n_pairs, out=np.full(n_tasks, np.nan), where=n_pairs > 0)
