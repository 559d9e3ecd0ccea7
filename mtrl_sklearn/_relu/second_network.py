"""A small network on half of the inputs, to be judged on the others.

It says what the large network would do on rows that it was not trained on. It makes as
many updates times learning rate for a row, in a quarter of the updates, so that what
its heads know by heart is as much. It draws from a generator of its own, so that all
else a fit gives stays as it was.
"""

from typing import NamedTuple

import numpy as np

from mtrl_sklearn._labels.signs import labels_per_row
from mtrl_sklearn._relu.network import ReLUNetwork
from mtrl_sklearn._relu.options import LARGEST_STEP, ReLUOptions
from mtrl_sklearn._relu.solution import Trained, finish
from mtrl_sklearn._relu.solvers import train_whole
from mtrl_sklearn._relu.task_data import (
    TaskData,
    count_all_signs,
    find_inputs,
    set_aside,
)
from mtrl_sklearn._training.job import FitJob

# Its hidden units at most, and its share of the epochs.
MOST_UNITS = 128
SHARE_OF_EPOCHS = 0.5

# Its batches are so many times, and its learning rate the square of it times, those of
# the large network; less where that is too fast for the data.
PACES = (2, 1)

# Inputs to judge heads on at least.
LEAST_INPUTS = 30

# Labels that are judged on at most, unless they are of fewer inputs than these.
MAX_LABELS = 100_000
ENOUGH_INPUTS = 300


class Judge(NamedTuple):
    """A network, and data of which it has not seen the labels held out."""

    network: ReLUNetwork
    data: TaskData


class SecondNetwork(NamedTuple):
    """A small network, trained on the training rows of its data."""

    trained: Trained
    data: TaskData
    n_epochs: int  # of the large network that it stands for

    def judge(self, rank: int | None = None) -> Judge:
        """The network with its first layer cut like a large one.

        Parameters
        ----------
        rank : int or None, default=None
            Where the large one is cut, which may be at more than this one has; None
            keeps it whole.
        """
        if rank is not None:
            rank = min(rank, min(self.trained.weights.shape) - 1)
        found = finish(self.trained, self.data, rank)
        return Judge(ReLUNetwork(*found.first_layer[:2], *found.heads), self.data)


def train_second(
    data: TaskData, options: ReLUOptions, seed: int, device: str
) -> SecondNetwork | None:
    """Train a small network on half of the inputs, from draws of its own.

    Parameters
    ----------
    data : TaskData
    options : ReLUOptions
        Of the large network.
    seed : int
        Of the large network.
    device : str

    Returns
    -------
    SecondNetwork or None
        None if no task has both classes in that half, there is nothing that it could
        tell, or what is trained there does not stay finite.

    Raises
    ------
    KeyboardInterrupt
        If the training was interrupted.
    """
    half = set_aside(data, 0.5, seed)
    if not half.n_observed or not _may_tell(half, options, seed):
        return None
    return train_small(half, options, seed, device)


def train_small(
    data: TaskData, options: ReLUOptions, seed: int, device: str
) -> SecondNetwork | None:
    """Train a small network on the training rows of some data, as `train_second` does.

    Returns
    -------
    SecondNetwork or None
        None if what is trained does not stay finite.
    """
    decay = options.weight_decay * options.learning_rate
    for pace in PACES:
        if pace > 1 and pace**2 * decay > LARGEST_STEP:
            continue
        small = options._replace(
            n_hidden=min(options.n_hidden, MOST_UNITS),
            max_epochs=max(1, round(SHARE_OF_EPOCHS * options.max_epochs)),
            batch_size=min(pace * options.batch_size, data.n_inputs),
            learning_rate=pace**2 * options.learning_rate,
        )
        job = FitJob(data, None, (seed + 1) % 2**31, device, [])
        try:
            trained = train_whole(job, small)
            second = SecondNetwork(trained, data, options.max_epochs)
            second.judge()
        except ValueError:  # something was not finite
            continue
        return second
    return None


def _may_tell(half: TaskData, options: ReLUOptions, seed: int) -> bool:
    """Whether there is a prior, a strength or a decay of heads to be learned from it.

    A prior takes two tasks, the others take inputs to judge heads on.
    """
    rows = np.asarray(half.held_out)
    n_positive, n_negative = count_all_signs(half.signs[rows], half.group)
    if np.count_nonzero((n_positive > 0) & (n_negative > 0)) > 1:
        return True
    if options.loss != "logistic" and not options.weight_decay:
        return False
    return find_inputs(half, rows, seed).n_rows >= LEAST_INPUTS


def thin_held_out(data: TaskData, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Rows held out of so many inputs that their labels are not too many.

    Returns
    -------
    rows : ndarray of shape (n_rows,)
    inputs : ndarray of shape (n_rows,)
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
