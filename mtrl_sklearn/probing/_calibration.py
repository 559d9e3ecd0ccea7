"""calibrate: settings of a probe, learned on few-shot problems made of source tasks."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from scipy.sparse import coo_array
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_params,
)
from tqdm import tqdm

from mtrl_sklearn._labels.signs import Signs, count_signs, sign_column
from mtrl_sklearn._training.prior import (
    MAX_LABELS,
    Effects,
    ProbePrior,
    find_effects,
    make_prior,
)
from mtrl_sklearn.probing._blocks import compute_blocks, open_representation
from mtrl_sklearn.probing._draws import (
    MIN_TEST_ROWS,
    Draw,
    FreshSplit,
    draw_rows,
    read_shots,
)
from mtrl_sklearn.probing._forecast import Reached
from mtrl_sklearn.probing._left_out import (
    LeftOut,
    collect,
    keep_problems,
    list_entries,
    score_left_out,
)
from mtrl_sklearn.probing._new_tasks import N_JOBS
from mtrl_sklearn.probing._products import move_blocks
from mtrl_sklearn.probing._settings import ProbeSettings
from mtrl_sklearn.probing._settings_search import average_settings, score_problems
from mtrl_sklearn.probing._sources import (
    SourceTasks,
    check_inputs,
    find_pos_label,
    read_groups,
    read_sources,
)

MAX_TASKS = 30  # of each group
MAX_TEST_ROWS = 500  # of each problem
TEST_SIZE = 0.25
N_SPLITS = 10  # of which the best is taken
AT_ONCE = 10  # few-shot problems of a process


@validate_params(
    {
        "representation": [HasMethods(["fit", "transform"])],
        "n_groups": [Interval(Integral, 2, None, closed="left")],
        "sampling": [StrOptions({"random", "balanced"})],
        "n_draws": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": N_JOBS,
        "random_state": ["random_state"],
        "verbose": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def calibrate(
    representation,
    X,
    Y,
    groups_of_tasks=None,
    *,
    tasks=None,
    rows=None,
    sample_weight=None,
    n_groups=3,
    shots=(16, 32, 64, 128),
    sampling="random",
    n_draws=2,
    n_jobs=None,
    random_state=None,
    verbose=False,
):
    r"""Learn from the source tasks how a probe should weigh its features.

    Which blocks of features help a new task, and how strong the penalty should be,
    depends on the data and on the number of labels, and few labels cannot tell. So the
    representation is trained anew without a group of source tasks, for each group in
    turn, on three quarters of the rows; a `MultiTaskReLURepresentation` for a fifth of
    its epochs with five times the learning rate, which suggests the same settings. The
    tasks left out tell on the other rows what tasks have in common before they have
    labels, the prior (`ProbePrior`). Few-shot problems are drawn from them, with labels
    of rows that were trained on and tests on those that were not: those set aside, or
    where a task has few of these, others that no other task has a label of. The
    settings that do well are averaged, for each number of labels, with weights

    .. math:: p_s \propto \exp((\mathrm{AUC}_s - \max_u \mathrm{AUC}_u) / 0.01)

    over weights of the blocks in quarters and four strengths. While it searches, one
    step of Newton's method from the scores of the prior stands in for the logistic
    loss: it has a closed form, and without a prior, where it starts at 0, it is ridge
    regression.

    In the long form rows of X that are equal are one input, which is held out with all
    of its labels.

    Parameters
    ----------
    representation : estimator or pipeline
        Its clones are fitted; it need not be fitted itself. If it was, heads of clones
        decay as its own, see ``head_decay_``, otherwise as the first layer.
    X : array-like or sparse matrix of shape (n_samples, ...)
        Inputs of the source tasks.
    Y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Labels of the source tasks, as in fit of the representation. Tasks that do not
        show both classes have no part in anything. Of sparse labels an array of a byte
        each is made.
    groups_of_tasks : array-like of shape (n_outputs,) or list of lists, default=None
        The group of each column of ``Y``, or of each sorted id of ``tasks``; or lists
        of names or positions. None finds groups that keep tasks with similar labels
        together.
    tasks : array-like of shape (n_samples,), default=None
        The long form: ``Y`` holds one label per row, of this task.
    rows : array-like of shape (n_labels,), default=None
        The relational form, with ``tasks``: the row of X that each label belongs to.
        X then has each input once, and ``Y`` and ``tasks`` an entry for each label. The
        result is that of ``X[rows]`` in the long form, where fits do not differ: see
        fit of `MultiTaskReLURepresentation`.
    sample_weight : array-like of shape (n_samples,) or (n_labels,), default=None
        Whole numbers: how often each entry of ``Y`` is to be there. Copies of a row
        count as one input.
    n_groups : int, default=3
        Number of groups to find, and so of fits.
    shots : tuple of int, default=(16, 32, 64, 128)
        Numbers of labels to learn settings for. Those for which no source task has
        enough labels are left out. The prior holds for all of them, from 0 on.
    sampling : {"random", "balanced"}, default="random"
        How new tasks will get their labels: as they come, where few or none may be
        positive, or half of them of either class.
    n_draws : int, default=2
        Few-shot problems of each task, of at most 30 tasks of a group.
    n_jobs : int, default=None
        Processes, over few-shot problems. The result does not depend on it.
    random_state : int, RandomState instance or None, default=None
        Groups, tasks and rows.
    verbose : bool, default=False
        Show a progress bar.

    Returns
    -------
    ProbeSettings
        For ``LinearProbe(representation, settings=...)``. Its method `forecast` says
        what to expect of a new task.

    Raises
    ------
    ValueError
        If no source task has enough labels for a few-shot problem, there is a single
        task that shows both classes, or groups leave nothing to train on.
    TypeError
        If X is sparse, but not the network, nor the steps before it in a pipeline, take
        it.

    Examples
    --------
    >>> from mtrl_sklearn import MultiTaskReLURepresentation
    >>> from mtrl_sklearn.datasets import make_subspace_tasks
    >>> from mtrl_sklearn.probing import LinearProbe, calibrate
    >>> X, Y, *_ = make_subspace_tasks(1000, 50, n_tasks=24, random_state=0)
    >>> representation = MultiTaskReLURepresentation(64, random_state=0).fit(X, Y)
    >>> settings = calibrate(
    ...     representation, X, Y, n_groups=2, shots=(16, 32), n_draws=1, random_state=0
    ... )
    >>> settings.n_labels
    (16, 32)
    >>> probe = LinearProbe(representation, settings=settings)
    """
    shots = read_shots(shots, least=1)
    pos_label = find_pos_label(representation)
    sources = read_sources(X, Y, tasks, pos_label, rows, sample_weight)
    check_inputs(representation, sources.X)
    random_state = check_random_state(random_state)
    seed = int(random_state.randint(2**31 - 1))
    rng = np.random.default_rng(seed)
    is_test = _split_rows(sources.signs, sources.inputs, rng)
    left_out = [*read_groups(groups_of_tasks, n_groups, sources, seed).values()]
    splits = [_find_fresh(sources, outputs, is_test) for outputs in left_out]
    _check_shots(sources, left_out, splits, shots, sampling)
    rounds = [
        _leave_out(
            _fit_briefly(representation, sources, outputs, np.flatnonzero(~is_test)),
            rng.permutation(np.flatnonzero(outputs[sources.output_of_task])),
            sources,
            split,
            draw=partial(draw_rows, shots=shots, split=split, sampling=sampling),
            n_draws=n_draws,
            rng=rng,
            n_jobs=n_jobs,
        )
        for outputs, split in zip(
            tqdm(left_out, desc="groups of tasks", disable=not verbose), splits
        )
    ]
    return replace(_conclude(rounds, shots), reached=_reach(rounds, (0, *shots)))


class _Round(NamedTuple):
    """What the tasks of one group say that was left out."""

    left_out: LeftOut
    names: list[str]  # of the blocks
    scores: list[dict[int, np.ndarray]]  # of each problem, by number of labels
    labels: tuple[np.ndarray, ...] | None  # for the prior
    standard: tuple[float, float] | None  # of the mean of source-task probabilities


def _fit_briefly(
    representation: Any, sources: SourceTasks, outputs: np.ndarray, entries: np.ndarray
) -> Any:
    """A fit without some outputs; that it stops early is no news."""
    with warnings.catch_warnings():
        ended = "Training ended at max_iter"
        warnings.filterwarnings("ignore", ended, ConvergenceWarning)
        return sources.fit_without(representation, outputs, entries, lighter=True)


def _leave_out(
    fitted: Any,
    tasks: np.ndarray,
    sources: SourceTasks,
    split: FreshSplit,
    *,
    draw: Callable[..., Draw],
    n_draws: int,
    rng: np.random.Generator,
    n_jobs: int | None,
) -> _Round:
    """Few-shot problems of tasks that a representation was not trained on."""
    blocks = compute_blocks(*open_representation(fitted, sources.X))
    prior, labels, standard, mean, signal = None, None, None, None, None
    if blocks.probabilities is not None:
        mean = blocks.probabilities.mean(axis=1, dtype=np.float64)
        mean = mean if sources.places is None else mean[sources.places]
        standard = _standardise(mean[~split.is_test])
        labels = _labels_left_out(mean, sources.signs, tasks, split.is_fresh, standard)
        prior = _learn_prior([labels], standard)
        if prior is not None:
            signal = (mean - prior.centre) / prior.scale
    problems = list(_draw_problems(sources.signs, tasks, draw, n_draws, rng))
    moved = move_blocks(
        blocks, list_entries(few for _, few in problems), sources.places
    )
    parts = (problems[k : k + AT_ONCE] for k in range(0, len(problems), AT_ONCE))
    jobs = (
        delayed(score_problems)(
            moved,
            [(sign_column(sources.signs, task), few) for task, few in part],
            prior,
            signal,
        )
        for part in parts
    )
    scores = [one for part in Parallel(n_jobs=n_jobs)(jobs) for one in part]
    kept = keep_problems(moved, mean, sources.signs, problems)
    return _Round(kept, list(moved), scores, labels, standard)


def _conclude(
    rounds: list[_Round],
    shots: tuple[int, ...],
    standard: tuple[float, float] | None = None,
) -> ProbeSettings:
    """Settings and prior that the tasks of some rounds suggest.

    Parameters
    ----------
    rounds : list of _Round
        With a problem in one of them at least.
    shots : tuple of int
    standard : tuple of float, default=None
        Centre and scale of the mean of source-task probabilities; None is their mean.
    """
    scores = {
        k: [of_problem[k] for r in rounds for of_problem in r.scores if k in of_problem]
        for k in shots
    }
    settings = average_settings(scores, rounds[0].names)
    labels = [r.labels for r in rounds if r.labels is not None]
    if not labels:
        return settings
    if standard is None:
        standards = [r.standard for r in rounds if r.standard is not None]
        centre, scale = np.mean(standards, axis=0)
        standard = float(centre), float(scale)
    return replace(settings, prior=_learn_prior(labels, standard))


def _reach(rounds: list[_Round], shots: tuple[int, ...]) -> Reached:
    """What tasks reached with the settings that the other groups suggest."""
    found = []
    for place, one in enumerate(rounds):
        others = rounds[:place] + rounds[place + 1 :]
        if not any(r.scores for r in others):
            others = rounds
        settings = _conclude(others, shots, one.standard)
        found.append(score_left_out(one.left_out, settings, shots))
    return collect(found, shots)


def _split_rows(
    signs: Signs, inputs: np.ndarray | None, rng: np.random.Generator
) -> np.ndarray:
    """Which entries nothing is trained on, so that many tasks show both classes there.

    All entries of an input are on one side: nothing is known of it but what it is.

    Returns
    -------
    ndarray of shape (n_entries,), bool
    """
    n_entries = signs.shape[0]
    inputs = np.arange(n_entries) if inputs is None else inputs
    n_inputs = int(inputs.max()) + 1
    n_test = int(np.ceil(TEST_SIZE * n_inputs))
    best, most = np.zeros(n_entries, dtype=bool), -1
    for _ in range(N_SPLITS):
        is_held_out = np.zeros(n_inputs, dtype=bool)
        is_held_out[rng.permutation(n_inputs)[:n_test]] = True
        is_test = is_held_out[inputs]
        n_usable = sum(
            np.minimum(*count_signs(signs[part])) >= least
            for part, least in ((is_test, MIN_TEST_ROWS), (~is_test, 1))
        )
        n_usable = int((n_usable == 2).sum())
        if n_usable > most:
            best, most = is_test, n_usable
    return best


def _find_fresh(
    sources: SourceTasks, outputs: np.ndarray, is_test: np.ndarray
) -> FreshSplit:
    """How labels of some outputs are split where a network was trained without these.

    It has not seen the labels of inputs that are held out, nor, where most labels are
    missing, of those that only tasks left out have labels of.
    """
    n_entries = len(is_test)
    inputs = np.arange(n_entries) if sources.inputs is None else sources.inputs
    others = sources.signs[:, ~outputs[sources.output_of_task]]
    was_seen = np.zeros(int(inputs.max()) + 1, dtype=bool)
    has_label = (others != 0).sum(axis=1) > 0
    was_seen[inputs[has_label & ~is_test]] = True
    return FreshSplit(is_test, ~was_seen[inputs], inputs)


def _standardise(mean: np.ndarray) -> tuple[float, float]:
    """Centre and scale of the mean of source-task probabilities over some entries."""
    return float(mean.mean()), float(mean.std())


def _labels_left_out(
    mean: np.ndarray,
    signs: Signs,
    tasks: np.ndarray,
    is_fresh: np.ndarray,
    standard: tuple[float, float],
) -> tuple[np.ndarray, ...]:
    """Standardised mean, sign and task of labels of rows that were not trained on."""
    entries = np.flatnonzero(is_fresh)
    shared = (mean[entries] - standard[0]) / (standard[1] or 1.0)
    of_test = coo_array(signs[entries][:, tasks])
    places, columns, found = of_test.row, of_test.col, of_test.data
    thin = slice(None, None, -(-max(len(places), 1) // MAX_LABELS))
    places, columns = places[thin], columns[thin]
    return shared[places], found[thin] > 0, tasks[columns]


def _learn_prior(
    labels: list[tuple[np.ndarray, ...]], standard: tuple[float, float]
) -> ProbePrior | None:
    """The prior of labels of some groups; None where the mean does not vary."""
    effects: Effects | None = None
    if standard[1] > 0:
        effects = find_effects(*map(np.concatenate, zip(*labels)))
    return None if effects is None else make_prior(effects, *standard)


def _check_shots(
    sources: SourceTasks,
    left_out: list[np.ndarray],
    splits: list[FreshSplit],
    shots: tuple[int, ...],
    sampling: str,
) -> None:
    """Refuse numbers of labels that no task has, before anything is trained."""
    rng = np.random.default_rng(0)  # how many labels a split leaves is not random
    draws = (
        draw_rows(sign_column(sources.signs, task), shots, split, rng, sampling)
        for outputs, split in zip(left_out, splits)
        for task in np.flatnonzero(outputs[sources.output_of_task]).tolist()
    )
    if not any(draw.few for draw in draws):
        raise ValueError(
            "No source task has enough labels of both classes for a few-shot problem. "
            "Pass smaller numbers in shots, or more labels."
        )


def _draw_problems(
    signs: Signs,
    tasks: np.ndarray,
    draw_rows: Callable[..., Draw],
    n_draws: int,
    rng: np.random.Generator,
) -> Iterator[tuple[int, Draw]]:
    """Few-shot problems of the first tasks that have labels for any."""
    n_found = 0
    for task in tasks:
        if n_found == MAX_TASKS:
            return
        of_task = sign_column(signs, task)
        draws = [draw_rows(of_task, rng=rng) for _ in range(n_draws)]
        usable = [draw for draw in draws if draw.few]
        n_found += bool(usable)
        for draw in usable:
            test = rng.permutation(draw.test)[:MAX_TEST_ROWS]
            if len(np.unique(of_task[test])) == 2:
                yield task, draw._replace(test=test)
