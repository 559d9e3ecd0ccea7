"""The prior of probes that the ReLU network learns from its source tasks.

What the mean of the source-task probabilities says of another task is not to be learned
on rows that were trained on: there it has seen the labels. Rows that early stopping
holds out tell it; without any, a small network does that was trained on half of the
inputs.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse
from scipy.special import expit

from mtrl_sklearn._relu.features import score_all
from mtrl_sklearn._relu.network import ReLUNetwork
from mtrl_sklearn._relu.second_network import Judge
from mtrl_sklearn._relu.task_data import TaskData, count_all_signs
from mtrl_sklearn._training.prior import (
    MAX_LABELS,
    MAX_TASKS,
    ProbePrior,
    find_effects,
    make_prior,
)

# What is looked at, of some rows: probabilities of all tasks, and inputs.
MAX_PROBABILITIES = 2_000_000
MAX_INPUTS = 5_000_000


class Shared(NamedTuple):
    """Centre and scale of the mean of the source-task probabilities."""

    centre: float
    scale: float


def learn_probe_prior(
    network: ReLUNetwork, data: TaskData, judge: Judge, seed: int
) -> ProbePrior | None:
    """The prior of probes on a network that was trained on these data.

    Parameters
    ----------
    network : ReLUNetwork
    data : TaskData
    judge : Judge
        Whose rows held out tell what probabilities say of other tasks.
    seed : int

    Returns
    -------
    ProbePrior or None
        None if fewer than two tasks show both classes in the rows that tell it, or the
        probabilities do not vary.
    """
    if _count_usable(judge.data).sum() < 2:
        return None
    own, its = _standardise(network, data), _standardise(*judge)
    if own is None or its is None:
        return None
    effects = find_effects(*_labels_held_out(*judge, its, seed))
    prior = None if effects is None else make_prior(effects, *own)
    return data.group.from_first(prior)


def _count_usable(data: TaskData) -> np.ndarray:
    """Whether tasks show both classes in the rows held out, of shape (n_tasks,)."""
    n_positive, n_negative = count_all_signs(data.signs[data.held_out], data.group)
    return (n_positive > 0) & (n_negative > 0)


def _standardise(network: ReLUNetwork, data: TaskData) -> Shared | None:
    """Over training rows; None if all have the same mean."""
    rows = np.arange(data.shard.n_here) if data.rows is None else data.rows
    rows = _thin(rows, data)

    def average(scores: np.ndarray) -> np.ndarray:
        return expit(scores, out=scores).mean(axis=1, keepdims=True, dtype=np.float64)

    means = score_all(data.X[rows], network, average)
    means = np.concatenate(data.group.gather(means[:, 0].astype(np.float64)))
    centre, scale = float(means.mean()), float(means.std())
    return Shared(centre, scale) if scale > 1e-6 * centre else None


def _thin(rows: np.ndarray, data: TaskData) -> np.ndarray:
    """So many of the rows that neither probabilities nor inputs are too many."""
    n_rows = max(sum(data.group.gather(len(rows))), 1)
    inputs = (data.X.nnz if issparse(data.X) else data.X.size) / data.X.shape[0]
    inputs = max(data.group.gather(inputs))
    of_rows = data.signs.shape[1] / MAX_PROBABILITIES, inputs / MAX_INPUTS
    return rows[:: math.ceil(n_rows * max(of_rows))]


def _labels_held_out(
    network: ReLUNetwork, data: TaskData, shared: Shared, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The standardised mean of the other tasks, sign and task of labels held out."""
    rows = _thin(np.asarray(data.held_out), data)
    n_tasks = data.signs.shape[1]
    chosen = np.flatnonzero(_count_usable(data))
    chosen = np.random.default_rng(seed).permutation(chosen)[:MAX_TASKS]
    chosen.sort()
    n_labels = sum(data.group.gather(data.signs[rows][:, chosen].nonzero()[0].size))
    rows = rows[:: -(-max(n_labels, 1) // MAX_LABELS)]

    def leave_out(scores: np.ndarray) -> np.ndarray:
        probabilities = expit(scores, out=scores)
        total = probabilities.sum(axis=1, keepdims=True, dtype=np.float64)
        return (total - probabilities[:, chosen]) / max(n_tasks - 1, 1)

    of_others = score_all(data.X[rows], network, leave_out)
    signs = data.signs[rows][:, chosen]
    places, tasks = signs.nonzero()
    # a CSR array gives no array for no places
    positive = (signs.data if issparse(signs) else signs[places, tasks]) > 0
    s = (of_others[places, tasks] - shared.centre) / shared.scale
    parts = zip(*data.group.gather((s, positive, tasks)))
    s, positive, tasks = (np.concatenate(part) for part in parts)
    return s, positive, tasks
