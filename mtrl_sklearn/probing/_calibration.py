"""calibrate: settings of a probe, learned on few-shot problems made of source tasks."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from numbers import Integral
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from scipy.special import expit
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_params,
)
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from mtrl_sklearn._labels.roc_auc import table_roc_auc
from mtrl_sklearn._training.prior import (
    MAX_LABELS,
    Effects,
    ProbePrior,
    find_effects,
    make_prior,
)
from mtrl_sklearn.probing._blocks import (
    BLOCKS,
    Blocks,
    compute_blocks,
    open_representation,
)
from mtrl_sklearn.probing._draws import (
    MIN_TEST_ROWS,
    Draw,
    FixedSplit,
    draw_rows,
    read_shots,
)
from mtrl_sklearn.probing._map_logistic import WIDE, shared_signal
from mtrl_sklearn.probing._new_tasks import N_JOBS
from mtrl_sklearn.probing._ridge_logistic import block_scales
from mtrl_sklearn.probing._settings import ProbeSettings
from mtrl_sklearn.probing._sources import check_inputs, read_groups, read_sources

WEIGHT_STEPS = 4  # weights are multiples of a quarter
STRENGTHS = np.array([0.1, 0.2, 0.4, 0.8, 2.0, 4.0, 8.0])
# Settings are averaged, with weights that fall by e for each such loss of ROC-AUC: the
# best one on few noisy problems is a worse choice than the mean of the good ones.
TEMPERATURE = 0.01
MAX_TASKS = 40  # of each group
MAX_TEST_ROWS = 500  # of each problem
TEST_SIZE = 0.25
N_SPLITS = 10  # of which the best is taken
# Newton's method starts at probabilities of at least this: one step from smaller ones
# would go too far.
LEAST_PROBABILITY = 0.05


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
    turn, on three quarters of the rows. The tasks left out tell on the other rows what
    tasks have in common before they have labels, the prior (`ProbePrior`). Few-shot
    problems are drawn from them, with labels of rows that were trained on and tests on
    those that were not; and the settings that do well are averaged, for each number of
    labels, with weights

    .. math:: p_s \propto \exp((\mathrm{AUC}_s - \max_u \mathrm{AUC}_u) / 0.01)

    over weights of the blocks in quarters and seven strengths. While it searches, one
    step of Newton's method from the scores of the prior stands in for the logistic
    loss: it has a closed form, and without a prior, where it starts at 0, it is ridge
    regression.

    Parameters
    ----------
    representation : estimator or pipeline
        Its clones are fitted; it need not be fitted itself.
    X : array-like of shape (n_samples, ...)
        Inputs of the source tasks.
    Y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Labels of the source tasks, as in fit of the representation. Tasks that do not
        show both classes have no part in anything.
    groups_of_tasks : array-like of shape (n_outputs,) or list of lists, default=None
        The group of each column of ``Y``, or of each sorted id of ``tasks``; or lists
        of names or positions. None finds groups that keep tasks with similar labels
        together.
    tasks : array-like of shape (n_samples,), default=None
        The long form: ``Y`` holds one label per row, of this task.
    n_groups : int, default=3
        Number of groups to find, and so of fits.
    shots : tuple of int, default=(16, 32, 64, 128)
        Numbers of labels to learn settings for. Those for which no source task has
        enough labels are left out. The prior holds for all of them, from 0 on.
    sampling : {"random", "balanced"}, default="random"
        How new tasks will get their labels: as they come, where few or none may be
        positive, or half of them of either class.
    n_draws : int, default=2
        Few-shot problems of each task, of at most 40 tasks of a group.
    n_jobs : int, default=None
        Processes, over few-shot problems. The result does not depend on it.
    random_state : int, RandomState instance or None, default=None
        Groups, tasks and rows.
    verbose : bool, default=False
        Show a progress bar.

    Returns
    -------
    ProbeSettings
        For ``LinearProbe(representation, settings=...)``.

    Raises
    ------
    ValueError
        If no source task has enough labels for a few-shot problem, there is a single
        task that shows both classes, or groups leave nothing to train on.
    TypeError
        If X is sparse, and no step of a pipeline makes arrays of it.

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
    sources = read_sources(X, Y, tasks)
    check_inputs(representation, sources.X)
    random_state = check_random_state(random_state)
    seed = int(random_state.randint(2**31 - 1))
    rng = np.random.default_rng(seed)
    split = _split_rows(sources.signs, rng)
    _check_shots(sources.signs, shots, split, sampling)
    X = sources.X
    left_out = read_groups(groups_of_tasks, n_groups, sources, seed)
    rows = np.flatnonzero(~split.is_test)
    scores = {k: [] for k in shots}
    labels, standards = [], []
    for outputs in tqdm(left_out.values(), desc="groups of tasks", disable=not verbose):
        fitted = sources.fit_without(representation, outputs, rows)
        blocks = compute_blocks(*open_representation(fitted, X))
        probed = rng.permutation(np.flatnonzero(outputs[sources.output_of_task]))
        prior = None
        if blocks.probabilities is not None:
            standard = _standardise(blocks.probabilities, rows)
            standards.append(standard)
            labels.append(
                _labels_left_out(blocks, sources.signs, probed, split, standard)
            )
            prior = _learn_prior(labels[-1:], standard)
        problems = _draw_problems(
            sources.signs, probed, shots, n_draws, split, sampling, rng
        )
        jobs = (
            delayed(_score_settings)(blocks, sources.signs[:, task], draw, prior)
            for task, draw in problems
        )
        for found in Parallel(n_jobs=n_jobs)(jobs):
            for k, of_settings in found.items():
                scores[k].append(of_settings)
    settings = _average_settings(scores, list(blocks.present))
    if not labels:
        return settings
    centre, scale = np.mean(standards, axis=0)
    prior = _learn_prior(labels, (float(centre), float(scale)))
    return replace(settings, prior=prior)


def _split_rows(signs: np.ndarray, rng: np.random.Generator) -> FixedSplit:
    """Rows that nothing is trained on, so that many tasks show both classes there."""
    n_samples = len(signs)
    n_test = int(np.ceil(TEST_SIZE * n_samples))
    best, most = np.zeros(n_samples, dtype=bool), -1
    for _ in range(N_SPLITS):
        is_test = np.zeros(n_samples, dtype=bool)
        is_test[rng.permutation(n_samples)[:n_test]] = True
        n_usable = sum(
            np.minimum((part > 0).sum(axis=0), (part < 0).sum(axis=0)) >= least
            for part, least in ((signs[is_test], MIN_TEST_ROWS), (signs[~is_test], 1))
        )
        n_usable = int((n_usable == 2).sum())
        if n_usable > most:
            best, most = is_test, n_usable
    return FixedSplit(best)


def _standardise(
    probabilities: np.ndarray, rows: np.ndarray | slice
) -> tuple[float, float]:
    """Centre and scale of the mean of source-task probabilities over some rows."""
    mean = probabilities[rows].mean(axis=1, dtype=np.float64)
    return float(mean.mean()), float(mean.std())


def _labels_left_out(
    blocks: Blocks,
    signs: np.ndarray,
    tasks: np.ndarray,
    split: FixedSplit,
    standard: tuple[float, float],
) -> tuple[np.ndarray, ...]:
    """Standardised mean, sign and task of labels of rows that were not trained on."""
    rows = np.flatnonzero(split.is_test)
    seen = blocks.take(rows)
    mean = np.asarray(seen.probabilities).mean(axis=1, dtype=np.float64)
    shared = (mean - standard[0]) / (standard[1] or 1.0)
    places, columns = np.nonzero(signs[np.ix_(rows, tasks)])
    thin = slice(None, None, -(-max(len(places), 1) // MAX_LABELS))
    places, columns = places[thin], columns[thin]
    return shared[places], signs[rows[places], tasks[columns]] > 0, tasks[columns]


def _learn_prior(
    labels: list[tuple[np.ndarray, ...]], standard: tuple[float, float]
) -> ProbePrior | None:
    """The prior of labels of some groups; None where the mean does not vary."""
    effects: Effects | None = None
    if standard[1] > 0:
        effects = find_effects(*map(np.concatenate, zip(*labels)))
    return None if effects is None else make_prior(effects, *standard)


def _check_shots(
    signs: np.ndarray, shots: tuple[int, ...], split: FixedSplit, sampling: str
) -> None:
    """Refuse numbers of labels that no task has, before anything is trained."""
    rng = np.random.default_rng(0)  # how many labels a split leaves is not random
    draws = (draw_rows(of_task, shots, split, rng, sampling) for of_task in signs.T)
    if not any(draw.few for draw in draws):
        raise ValueError(
            "No source task has enough labels of both classes for a few-shot problem. "
            "Pass smaller numbers in shots, or more labels."
        )


def _draw_problems(
    signs: np.ndarray,
    tasks: np.ndarray,
    shots: tuple[int, ...],
    n_draws: int,
    split: FixedSplit,
    sampling: str,
    rng: np.random.Generator,
) -> Iterator[tuple[int, Draw]]:
    """Few-shot problems of the first tasks that have labels for any."""
    n_found = 0
    for task in tasks:
        if n_found == MAX_TASKS:
            return
        draws = [
            draw_rows(signs[:, task], shots, split, rng, sampling)
            for _ in range(n_draws)
        ]
        usable = [draw for draw in draws if draw.few]
        n_found += bool(usable)
        for draw in usable:
            test = rng.permutation(draw.test)[:MAX_TEST_ROWS]
            if len(np.unique(signs[test, task])) == 2:
                yield task, draw._replace(test=test)


def _grid(n_blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """Settings to try: weights (n_settings, n_blocks) and strengths (n_settings,)."""
    steps = range(WEIGHT_STEPS + 1)
    weights = [w for w in product(steps, repeat=n_blocks) if sum(w) == WEIGHT_STEPS]
    pairs = product(np.array(weights) / WEIGHT_STEPS, STRENGTHS)
    of_blocks, strengths = zip(*pairs)
    return np.array(of_blocks), np.array(strengths)


class _Start(NamedTuple):
    """Where Newton's method starts on the labels of one task."""

    target: np.ndarray  # (n_labels,), less what the slope of the prior gives
    curvature: np.ndarray  # (n_labels,)
    slope: float
    slope_spread: float
    centre: float  # of the intercept
    precision: float


class _Shared(NamedTuple):
    """What the prior says of the rows of a few-shot problem."""

    prior: ProbePrior | None
    few: np.ndarray  # (n_labels,), standardised mean of source-task probabilities
    test: np.ndarray  # (n_test,)

    def start(self, y: np.ndarray) -> _Start:
        """The curved loss of labels -1 and 1 at the scores of the prior, 0 without."""
        if self.prior is None:
            return _Start(2 * y, np.full(len(y), 0.25), 0.0, 0.0, 0.0, 0.0)
        n_positive, centre = np.sum(y > 0), self.prior.intercept
        share = (n_positive + expit(centre)) / (len(y) + 1)
        score = np.log(share / (1 - share)) + self.prior.slope * self.few
        p = np.clip(expit(score), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
        curvature = p * (1 - p)
        score = np.log(p / (1 - p))
        target = score + ((y > 0) - p) / curvature - self.prior.slope * self.few
        slope, spread = self.prior.slope, self.prior.slope_spread
        return _Start(target, curvature, slope, spread, centre, 1 / WIDE**2)


def _score_settings(
    blocks: Blocks, signs: np.ndarray, draw: Draw, prior: ProbePrior | None = None
) -> dict[int, np.ndarray]:
    """ROC-AUC of all settings on one problem, by number of labels.

    With products K between the rows of a block, divided by its mean squared norm, the
    scores of setting (u, C) are ``sum_b u_b K_b a + c``, where
    ``(sum_b u_b K_b + 4 / C) a + c = y`` and the entries of a sum to 0. A prior adds
    its kernel, and replaces 4 and y by what Newton's method says at its scores.
    """
    largest = draw.few[max(draw.few)]
    with threadpool_limits(1):
        among, between = [], []
        scales = block_scales(blocks.take(largest).present)
        for name, block in blocks.present.items():
            rows = block[np.concatenate([largest, draw.test])].astype(np.float64)
            rows = (rows - rows[0]) / scales[name]
            rows -= rows[: len(largest)].mean(axis=0)
            few = rows[: len(largest)]
            among.append(few @ few.T)
            between.append(rows[len(largest) :] @ few.T)
        shared = np.zeros(len(signs))
        if prior is not None:
            shared = shared_signal(blocks.present, prior)
        place = {row: k for k, row in enumerate(largest.tolist())}
        return {
            k: _rank_settings(
                np.array(among)[:, p][:, :, p],
                np.array(between)[:, :, p],
                signs[rows].astype(np.float64),
                signs[draw.test] > 0,
                _Shared(prior, shared[rows], shared[draw.test]),
            )
            for k, rows in draw.few.items()
            for p in [[place[row] for row in rows.tolist()]]
        }


def _rank_settings(
    among: np.ndarray,
    between: np.ndarray,
    y: np.ndarray,
    positive: np.ndarray,
    shared: _Shared,
) -> np.ndarray:
    """ROC-AUC of all settings with one number of labels, of shape (n_settings,).

    Parameters
    ----------
    among : ndarray of shape (n_blocks, n_labels, n_labels)
        Products of training rows.
    between : ndarray of shape (n_blocks, n_test, n_labels)
        Products of test rows with training rows.
    y : ndarray of shape (n_labels,)
    positive : ndarray of shape (n_test,), bool
    shared : _Shared
    """
    weights, strengths = _grid(len(among))
    spread = np.trace(among, axis1=1, axis2=2) / len(y) - among.mean(axis=(1, 2))
    weights = weights / np.where(spread > 0, spread, 1)
    systems = np.tensordot(weights, among, axes=1)
    target, curvature, slope, spread, centre, precision = shared.start(y)
    systems *= strengths[:, None, None]
    systems += spread**2 * np.multiply.outer(shared.few, shared.few)
    systems[:, range(len(y)), range(len(y))] += 1 / curvature
    right = np.broadcast_to(
        np.stack([target, np.ones_like(y)], axis=1), (len(systems), len(y), 2)
    )
    solved = np.linalg.solve(systems, right)
    total, per_unit = solved.sum(axis=1).T
    intercepts = (total + precision * centre) / (per_unit + precision)
    dual = solved[:, :, 0] - intercepts[:, None] * solved[:, :, 1]
    slopes = slope + spread**2 * dual @ shared.few
    dual = strengths[:, None] * dual
    scores = sum(
        (weights[:, b, None] * dual) @ products.T for b, products in enumerate(between)
    )
    scores = scores + np.multiply.outer(slopes, shared.test)
    signs = np.where(positive, 1, -1).astype(np.int8)
    of_settings = np.broadcast_to(signs[:, None], scores.T.shape)
    return table_roc_auc(of_settings, scores.T)


def _average_settings(
    scores: dict[int, list[np.ndarray]], names: list[str]
) -> ProbeSettings:
    """The mean of good settings, for each number of labels."""
    scores = {k: of_problems for k, of_problems in scores.items() if of_problems}
    weights, strengths = _grid(len(names))
    chosen_weights: list[tuple[float, ...]] = []
    chosen_C: list[float] = []
    for of_problems in scores.values():
        mean = np.mean(of_problems, axis=0)
        share = np.exp((mean - mean.max()) / TEMPERATURE)
        share /= share.sum()
        by_name = dict(zip(names, share @ weights))
        chosen_weights.append(tuple(float(by_name.get(name, 0)) for name in BLOCKS))
        chosen_C.append(float(np.exp(share @ np.log(strengths))))
    return ProbeSettings(tuple(scores), tuple(chosen_weights), tuple(chosen_C))
