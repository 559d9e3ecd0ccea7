"""How strong heads are to be, learned on rows that were not trained on.

Heads are too sure of new rows where they have learned those of training by heart, and
not sure enough where dropout, or the covariance of discriminants, held them back. So
all are multiplied by one factor, and each intercept is set so that probabilities have
the mean of the labels of the task. Rows that early stopping holds out tell the factor;
without any, a small network does that was trained on half of the inputs. Heads stay as
they are where that gains nothing that is clear.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse

from mtrl_sklearn._relu.features import LabelScores, score_observed
from mtrl_sklearn._relu.network import ReLUNetwork
from mtrl_sklearn._relu.second_network import LEAST_INPUTS, Judge, thin_held_out
from mtrl_sklearn._relu.task_data import TaskData, draw_labelled_rows
from mtrl_sklearn._training.losses import log_odds

# Factors that heads may be multiplied by.
SCALES = 2.0 ** (np.arange(-16, 9) / 4)

# Standard errors over inputs that a gain has to exceed.
CLEAR = 2.0

# Entries and scores that are looked at together.
AT_ONCE = 2**18

# Labels of each task whose scores tell their mean and variance, where there are more.
ENOUGH_LABELS = 20_000


class HeadStrength(NamedTuple):
    """What turns scores of heads as they were trained into better ones."""

    scale: float  # by which they are multiplied
    shift: np.ndarray  # (n_tasks,), then added


class ScoreMoments(NamedTuple):
    """Scores of the labels of each task."""

    mean: np.ndarray  # (n_tasks,), 0 without labels
    variance: np.ndarray  # (n_tasks,)


def learn_head_strength(
    network: ReLUNetwork, data: TaskData, judge: Judge, seed: int
) -> HeadStrength | None:
    """What to change the heads of a network by that was trained on these data.

    Parameters
    ----------
    network : ReLUNetwork
    data : TaskData
    judge : Judge
        Which tells the factor.
    seed : int

    Returns
    -------
    HeadStrength or None
        None if heads are to stay as they are: there are few rows to judge by, or these
        are not predicted clearly better with any factor.
    """
    scale = data.group.from_first(_choose_scale(*judge, seed))
    if scale is None:
        return None
    shift = find_shift(scale, _take_moments(network, data), data)
    return HeadStrength(scale, data.group.from_first(shift))


def find_shift(scale: float, moments: ScoreMoments, data: TaskData) -> np.ndarray:
    """What scores, times a scale, lack so that probabilities have the right mean.

    That is the share of positive labels of each task, for scores that are normal:
    ``E sigmoid(f) = sigmoid(m / sqrt(1 + pi v / 8))`` for mean m and variance v
    (MacKay, The evidence framework applied to classification networks, Neural
    Computation 4, 1992). Mean and variance are those of training labels, whose exact
    mean probability says less of other rows: it was fitted.

    Parameters
    ----------
    scale : float
    moments : ScoreMoments
        Before scaling.
    data : TaskData

    Returns
    -------
    ndarray of shape (n_tasks,)
    """
    odds = log_odds(data.n_positive, data.n_negative)
    spread = np.sqrt(1 + np.pi / 8 * scale**2 * moments.variance)
    return odds * spread - scale * moments.mean


def _choose_scale(network: ReLUNetwork, data: TaskData, seed: int) -> float | None:
    """The factor by which labels held out are predicted best, None if not clearly."""
    rows, ids, n_inputs = thin_held_out(data, seed)
    if n_inputs < LEAST_INPUTS:
        return None
    moments = _take_moments(network, data)
    shifts = [find_shift(scale, moments, data) for scale in SCALES]
    losses = np.zeros((1 + len(SCALES), n_inputs))
    start = 0
    for part, labels in _score_blocks(network, data, rows):
        scores = [s * labels.scores + b[labels.tasks] for s, b in zip(SCALES, shifts)]
        of_input = ids[start + labels.rows]
        for total, values in zip(losses, [labels.scores, *scores]):
            total += np.bincount(of_input, _losses(labels.signs, values), n_inputs)
        start += len(part)
    before, *after = np.sum(data.group.gather(losses), axis=0)
    gains = before - after
    best = int(gains.sum(axis=1).argmax())
    error = gains[best].std() / n_inputs**0.5
    is_clear = gains[best].mean() > CLEAR * error
    return float(SCALES[best]) if is_clear else None


def _losses(signs: np.ndarray, scores: np.ndarray) -> np.ndarray:
    signs = signs.astype(np.float64)
    losses: np.ndarray = np.abs(signs) * np.logaddexp(0, -np.sign(signs) * scores)
    return losses


def _take_moments(network: ReLUNetwork, data: TaskData) -> ScoreMoments:
    """Mean and variance of the scores of training labels, by their weights."""
    n_tasks = data.signs.shape[1]
    rows = np.arange(data.shard.n_here) if data.rows is None else data.rows
    places = draw_labelled_rows(data, _count_enough(data))
    rows = rows if places is None else rows[places]
    base = network.task_intercept.astype(np.float64)
    sums = np.zeros((3, n_tasks))
    for _, (_, tasks, signs, scores) in _score_blocks(network, data, rows):
        weights, scores = np.abs(signs.astype(np.float64)), scores - base[tasks]
        for power in range(3):
            sums[power] += np.bincount(tasks, weights * scores**power, n_tasks)
    totals, first, second = np.sum(data.group.gather(sums), axis=0)
    totals = np.where(totals > 0, totals, 1)
    mean = first / totals
    return ScoreMoments(mean + base, np.maximum(second / totals - mean**2, 0))


def _count_enough(data: TaskData) -> int:
    """Training rows of which some tell as much as all: so many have enough labels."""
    n_rows, n_labels = data.shard.n_rows, data.n_positive + data.n_negative
    n_labels = n_labels[n_labels > 0]
    if data.signs.dtype.kind == "f" or not n_labels.size:  # weights are no numbers
        return n_rows
    return math.ceil(n_rows * min(ENOUGH_LABELS / n_labels.min(), 1))


def _score_blocks(
    network: ReLUNetwork, data: TaskData, rows: np.ndarray
) -> Iterator[tuple[np.ndarray, LabelScores]]:
    """Some rows after others, and the scores of their labels, float64."""
    for part in _blocks(data, rows):
        labels = score_observed(data.X[part], network, data.signs[part])
        yield part, labels._replace(scores=labels.scores.astype(np.float64))


def _blocks(data: TaskData, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Some rows after others, so that what is looked at together is not too much."""
    parts: tuple[Any, Any] = (data.X, data.signs)
    stored = (p.nnz / p.shape[0] if issparse(p) else p.shape[1] for p in parts)
    n_rows = max(int(AT_ONCE / max(sum(stored), 1)), 1)
    return (rows[k : k + n_rows] for k in range(0, len(rows), n_rows))
