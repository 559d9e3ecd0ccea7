"""How strong heads are to be, learned on rows that were not trained on.

Heads are too sure of new rows where they have learned those of training by heart, and
not sure enough where dropout, or the covariance of discriminants, held them back. So
all are multiplied by one factor, and each intercept is set so that probabilities have
the mean of the labels of the task. Rows that early stopping holds out tell the factor;
without any, a small network is trained on half of the rows, and judged on the others.
Heads stay as they are where that gains nothing that is clear.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse

from mtrl_sklearn._labels.signs import labels_per_row
from mtrl_sklearn._relu.features import LabelScores, score_observed
from mtrl_sklearn._relu.network import ReLUNetwork
from mtrl_sklearn._relu.options import ReLUOptions
from mtrl_sklearn._relu.second_network import train_small
from mtrl_sklearn._relu.task_data import TaskData, find_inputs, set_aside
from mtrl_sklearn._training.losses import log_odds

# Factors that heads may be multiplied by.
SCALES = 2.0 ** (np.arange(-16, 9) / 4)

# The second network: its share of the epochs, and its pace, which make as many updates
# times learning rate for a row as the first network has.
SHARE_OF_EPOCHS = 0.5
PACE = 2

# Inputs to judge on at least, and standard errors over them that a gain has to exceed.
LEAST_INPUTS = 30
CLEAR = 2.0

# Labels that are judged on at most, unless they are of fewer inputs than these; entries
# and scores that are looked at together.
MAX_LABELS = 100_000
ENOUGH_INPUTS = 300
AT_ONCE = 2**18


class HeadStrength(NamedTuple):
    """What turns scores of heads as they were trained into better ones."""

    scale: float  # by which they are multiplied
    shift: np.ndarray  # (n_tasks,), then added


class ScoreMoments(NamedTuple):
    """Scores of the labels of each task."""

    mean: np.ndarray  # (n_tasks,), 0 without labels
    variance: np.ndarray  # (n_tasks,)


def learn_head_strength(
    network: ReLUNetwork,
    data: TaskData,
    options: ReLUOptions,
    seed: int,
    device: str,
    rank: int | None = None,
) -> HeadStrength | None:
    """What to change the heads of a network by that was trained on these data.

    Parameters
    ----------
    network : ReLUNetwork
    data : TaskData
    options : ReLUOptions
        Of its training.
    seed : int
    device : str
    rank : int or None, default=None
        Where its first layer was cut; None if it is whole.

    Returns
    -------
    HeadStrength or None
        None if heads are to stay as they are: there are few rows to judge by, or these
        are not predicted clearly better with any factor.

    Raises
    ------
    KeyboardInterrupt
        If the second training was interrupted.
    """
    judge, judged = network, data
    if data.held_out is None:
        judged = set_aside(data, 0.5, seed)
    held_out = np.asarray(judged.held_out)
    n_inputs = find_inputs(judged, held_out, seed).n_rows
    if not judged.n_observed or n_inputs < LEAST_INPUTS:
        return None
    if data.held_out is None:
        try:
            judge = train_small(
                judged, options, seed, device, SHARE_OF_EPOCHS, rank, PACE
            )
        except ValueError:  # too fast for these data: there is nothing to judge
            return None
    scale = data.group.from_first(_choose_scale(judge, judged, seed))
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
    moments = _take_moments(network, data)
    shifts = [find_shift(scale, moments, data) for scale in SCALES]
    rows, ids, n_inputs = _thin(data, seed)
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


def _thin(data: TaskData, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Rows held out of so many inputs that their labels are not too many.

    Returns
    -------
    rows : ndarray of shape (n_rows,)
    ids : ndarray of shape (n_rows,)
        The input that each is, from 0 on.
    n_inputs : int
    """
    rows = np.asarray(data.held_out)
    n_inputs, places = find_inputs(data, rows, seed)
    ids = np.asarray(places)
    n_labels = sum(data.group.gather(labels_per_row(data.signs[rows]).sum()))
    step = max(int(min(np.ceil(n_labels / MAX_LABELS), n_inputs // ENOUGH_INPUTS)), 1)
    kept = ids % step == 0
    return rows[kept], ids[kept] // step, -(-n_inputs // step)


def _take_moments(network: ReLUNetwork, data: TaskData) -> ScoreMoments:
    """Mean and variance of the scores of training labels, by their weights."""
    n_tasks = data.signs.shape[1]
    rows = np.arange(data.shard.n_here) if data.rows is None else data.rows
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
