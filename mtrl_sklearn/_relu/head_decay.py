"""By how much heads are to decay faster than the first layer, learned before training.

Heads of few labels learn these by heart, and rank new rows worse for it, where those of
many lose by any decay. Which it is, small networks tell that are trained on half of the
inputs, with one decay after another as long as the ROC-AUC on the other half grows. The
best one whose gain is clear is taken; without any, heads decay as the first layer does.

Where the first layer is to be cut, heads decay as it does, too: faster decay hides the
edge that says where, and a cut gains more. Half of the inputs may not show that edge,
so that another small network looks for it on all of them.
"""

from typing import NamedTuple

import numpy as np

from mtrl_sklearn._labels.roc_auc import find_placements
from mtrl_sklearn._relu.features import score_observed
from mtrl_sklearn._relu.options import AUTO_EPOCHS, LARGEST_STEP, ReLUOptions
from mtrl_sklearn._relu.second_network import (
    LEAST_INPUTS,
    PACES,
    Judge,
    SecondNetwork,
    thin_held_out,
    train_second,
    train_small,
)
from mtrl_sklearn._relu.solution import finish
from mtrl_sklearn._relu.spectral import candidate_ranks
from mtrl_sklearn._relu.task_data import TaskData

# What the decay of the first layer is multiplied by, one after another.
FACTORS = (10.0, 30.0)

# Standard errors over inputs that a gain has to exceed, which one of 0 does with a
# probability of 5 %.
CLEAR = 1.64

# Tasks to judge by at most.
MAX_TASKS = 512


class HeadDecay(NamedTuple):
    """Decay of the heads, and the small network that was trained with it."""

    factor: float  # times the decay of the first layer
    second: SecondNetwork | None


class Gain(NamedTuple):
    """What scores gain over others in ROC-AUC, as a mean over tasks."""

    mean: float  # NaN if no task has both classes
    error: float  # its standard error, over inputs


class Labels(NamedTuple):
    """Labels to judge by, of all ranks."""

    tasks: np.ndarray  # (n_labels,)
    signs: np.ndarray  # (n_labels,), times weights
    inputs: np.ndarray  # (n_labels,), the input that each is of
    n_tasks: int
    n_inputs: int


def choose_head_decay(
    data: TaskData, options: ReLUOptions, seed: int, device: str
) -> HeadDecay:
    """Choose by how much heads are to decay faster than the first layer.

    Parameters
    ----------
    data : TaskData
    options : ReLUOptions
        Of the training that is to come.
    seed : int
    device : str

    Raises
    ------
    KeyboardInterrupt
        If one of the trainings was interrupted.
    """
    n_epochs = min(options.max_epochs, AUTO_EPOCHS[1])
    options = options._replace(max_epochs=n_epochs, head_decay=1.0)
    may_be_cut = options.n_components == "auto"
    second = train_second(data, options, seed, device)
    best = first = HeadDecay(1.0, second)
    gain = Gain(0.0, 0.0)
    if second is None or not options.weight_decay:
        return first
    if may_be_cut and _shows_edge(second):
        return first
    rank = options.n_components if isinstance(options.n_components, int) else None
    labels, before = _score_held_out(second.judge(rank), seed)
    if labels.n_inputs < LEAST_INPUTS:
        return first
    for factor in FACTORS:
        step = factor * options.weight_decay * options.learning_rate
        if max(PACES) ** 2 * step > LARGEST_STEP:
            break
        second = train_second(data, options._replace(head_decay=factor), seed, device)
        if second is None:
            break
        _, after = _score_held_out(second.judge(rank), seed)
        found = data.group.from_first(find_gain(labels, before, after))
        if not found.mean > gain.mean:
            break
        gain = found
        if gain.mean > CLEAR * gain.error:
            best = HeadDecay(factor, second)
    if may_be_cut and best.factor > 1:
        small = train_small(data, options, seed, device)
        if small is not None and _shows_edge(small):
            return first
    return best


def _shows_edge(small: SecondNetwork) -> bool:
    """Whether an edge says where to cut, which faster decay of heads may hide."""
    layer = finish(small.trained, small.data, None).first_layer
    ranks = list(candidate_ranks(layer.singular_values))
    return bool(small.data.group.from_first(ranks))


def find_gain(labels: Labels, before: np.ndarray, after: np.ndarray) -> Gain:
    """What scores gain over others in ROC-AUC, as a mean over tasks.

    Its error is that of DeLong et al. (Biometrics 44, 1988), with all labels of an
    input together (Obuchowski, Biometrics 53, 1997): how much the mean would change
    were there other inputs, for the tasks at hand.

    Parameters
    ----------
    labels : Labels
    before, after : ndarrays of shape (n_labels,)
        Scores.
    """
    tasks, signs, inputs, n_tasks, n_inputs = labels
    (old, shares), (new, _) = (
        find_placements(tasks, signs, scores, n_tasks) for scores in (before, after)
    )
    seen = ~np.isnan(old)
    tasks, change, shares = tasks[seen], (new - old)[seen], shares[seen]
    of_task = np.bincount(tasks, change * shares, n_tasks) / 2  # both classes have it
    n_seen = np.count_nonzero(np.bincount(tasks, minlength=n_tasks))
    if not n_seen:
        return Gain(np.nan, np.nan)
    influence = shares * (change - of_task[tasks]) / n_seen
    of_input = np.bincount(inputs[seen], influence, n_inputs)
    mean = float(of_task.sum() / n_seen)
    return Gain(mean, float(np.sqrt(np.square(of_input).sum())))


def _score_held_out(judge: Judge, seed: int) -> tuple[Labels, np.ndarray]:
    """Labels of some rows and tasks held out, and their scores, of all ranks."""
    network, data = judge
    rows, inputs, n_inputs = thin_held_out(data, seed)
    usable = np.flatnonzero((data.n_positive > 0) & (data.n_negative > 0))
    chosen = np.sort(np.random.default_rng(seed).permutation(usable)[:MAX_TASKS])
    heads = {
        "task_coef": network.task_coef[chosen],
        "task_intercept": network.task_intercept[chosen],
    }
    signs = data.signs[rows][:, chosen]
    places, *found = score_observed(data.X[rows], network._replace(**heads), signs)
    parts = zip(*data.group.gather((inputs[places], *found)))
    of_label, tasks, signs, scores = (np.concatenate(part) for part in parts)
    return Labels(tasks, signs, of_label, len(chosen), n_inputs), scores
