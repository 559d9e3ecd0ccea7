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

from mtrl_sklearn._arrays.copies import hash_rows, number_copies
from mtrl_sklearn._labels.signs import labels_per_row
from mtrl_sklearn._relu.features import LabelScores, score_observed
from mtrl_sklearn._relu.network import ReLUNetwork
from mtrl_sklearn._relu.options import ReLUOptions
from mtrl_sklearn._relu.second_network import train_small
from mtrl_sklearn._relu.solution import TaskData, count_labels
from mtrl_sklearn._training.losses import log_odds

# Factors that heads may be multiplied by.
SCALES = 2.0 ** (np.arange(-16, 9) / 4)

# The second network: its share of the epochs, and its pace, which make as many updates
# times learning rate for a row as the first network has.
SHARE_OF_EPOCHS = 0.5
PACE = 2

# Rows to judge on at least, and standard errors over them that a gain has to exceed.
LEAST_ROWS = 30
CLEAR = 2.0

# Labels that are judged on at most, unless they are of fewer rows than these; inputs
# and scores that are looked at together.
MAX_LABELS = 100_000
ENOUGH_ROWS = 300
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
        judged = halve_inputs(data, seed)
        if not judged.n_observed or data.n_inputs < 2 * LEAST_ROWS:
            return None
        try:
            judge = train_small(
                judged, options, seed, device, SHARE_OF_EPOCHS, rank, PACE
            )
        except ValueError:  # too fast for these data: there is nothing to judge
            return None
    scale = data.group.from_first(_choose_scale(judge, judged))
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


def halve_inputs(data: TaskData, seed: int) -> TaskData:
    """The same data with the rows of half of the inputs held out.

    Rows of the same input stay together: in the long form there is one for each label.
    """
    rows = np.arange(data.shard.n_here) if data.rows is None else data.rows
    rows = rows[labels_per_row(data.signs[rows]) > 0]  # others have no influence
    keys = [np.empty(0, dtype=np.uint64)]
    keys += [hash_rows(data.X[part]) for part in _blocks(data, rows)]
    n_inputs, places = number_copies(np.concatenate(keys), data.group)
    is_aside = np.zeros(n_inputs, dtype=bool)
    order = np.random.default_rng(seed).permutation(n_inputs)
    is_aside[order[: n_inputs // 2]] = True
    is_aside = is_aside[places]
    return count_labels(
        data.X,
        data.signs,
        data.task_weight,
        rows=rows[~is_aside],
        held_out=rows[is_aside],
        group=data.group,
        inputs=data.inputs,
    )


def _choose_scale(network: ReLUNetwork, data: TaskData) -> float | None:
    """The factor by which labels held out are predicted best, None if not clearly."""
    moments = _take_moments(network, data)
    shifts = [find_shift(scale, moments, data) for scale in SCALES]
    losses = [np.empty((1 + len(SCALES), 0))]
    for labels in _score_blocks(network, data, _thin(data)):
        scores = [s * labels.scores + b[labels.tasks] for s, b in zip(SCALES, shifts)]
        losses.append(_sum_losses(labels, np.array([labels.scores, *scores])))
    losses = data.group.gather(np.concatenate(losses, axis=1))
    before, *after = np.concatenate(losses, axis=1)
    if len(before) < LEAST_ROWS:
        return None
    gains = before - after
    best = int(gains.sum(axis=1).argmax())
    error = gains[best].std() / len(before) ** 0.5
    is_clear = gains[best].mean() > CLEAR * error
    return float(SCALES[best]) if is_clear else None


def _sum_losses(labels: LabelScores, scores: np.ndarray) -> np.ndarray:
    """Losses of scores (n, n_labels), summed for rows with labels: (n, n_rows)."""
    signs = labels.signs.astype(np.float64)
    losses = np.abs(signs) * np.logaddexp(0, -np.sign(signs) * scores)
    _, starts = np.unique(labels.rows, return_index=True)
    return np.add.reduceat(losses, starts, axis=1) if len(starts) else losses


def _thin(data: TaskData) -> np.ndarray:
    """So many of the rows held out that their labels are not too many."""
    rows = np.asarray(data.held_out)
    here = len(rows), labels_per_row(data.signs[rows]).sum()
    n_rows, n_labels = np.sum(data.group.gather(here), axis=0)
    step = min(np.ceil(n_labels / MAX_LABELS), n_rows // ENOUGH_ROWS)
    return rows[:: max(int(step), 1)]


def _take_moments(network: ReLUNetwork, data: TaskData) -> ScoreMoments:
    """Mean and variance of the scores of training labels, by their weights."""
    n_tasks = data.signs.shape[1]
    rows = np.arange(data.shard.n_here) if data.rows is None else data.rows
    base = network.task_intercept.astype(np.float64)
    sums = np.zeros((3, n_tasks))
    for _, tasks, signs, scores in _score_blocks(network, data, rows):
        weights, scores = np.abs(signs.astype(np.float64)), scores - base[tasks]
        for power in range(3):
            sums[power] += np.bincount(tasks, weights * scores**power, n_tasks)
    totals, first, second = np.sum(data.group.gather(sums), axis=0)
    totals = np.where(totals > 0, totals, 1)
    mean = first / totals
    return ScoreMoments(mean + base, np.maximum(second / totals - mean**2, 0))


def _score_blocks(
    network: ReLUNetwork, data: TaskData, rows: np.ndarray
) -> Iterator[LabelScores]:
    """Scores of the labels of some rows, float64; those of a row come together."""
    for part in _blocks(data, rows):
        labels = score_observed(data.X[part], network, data.signs[part])
        yield labels._replace(scores=labels.scores.astype(np.float64))


def _blocks(data: TaskData, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Some rows after others, so that what is looked at together is not too much."""
    parts: tuple[Any, Any] = (data.X, data.signs)
    stored = (p.nnz / p.shape[0] if issparse(p) else p.shape[1] for p in parts)
    n_rows = max(int(AT_ONCE / max(sum(stored), 1)), 1)
    return (rows[k : k + n_rows] for k in range(0, len(rows), n_rows))
