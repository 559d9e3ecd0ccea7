"""Binary probes with a prior: the most probable scores of a new task, or of many.

The log-odds of a task are ``f(x) = b + beta s(x) + w . z(x)``, with z the weighted
blocks of features and s the standardised mean of the source-task probabilities. Given
the prior of `ProbePrior`, and w ~ N(0, C I), b, beta and w are those of the highest
posterior density. Few labels make it a problem of one number for each label, its dual.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from mtrl_sklearn._arrays.centred import Block, Centred, SideBySide
from mtrl_sklearn._training.prior import ProbePrior
from mtrl_sklearn.probing._ridge_logistic import (
    MAX_DUAL,
    OPTIONS,
    LinearModel,
    ScaledBlocks,
    scale_blocks,
)

# Degrees of freedom of Student's t, the prior of b.
TAIL = 4.0

# Spread of b while w and beta are found.
WIDE = 3.0

# Numbers in the arrays of those problems that are solved at a time.
AT_ONCE = 2**24

MAX_ITER = 200
MAX_HALVINGS = 30
TOL = 1e-10


class FewLabels(NamedTuple):
    """Labels of one binary task, and how features are to be weighed for it."""

    rows: np.ndarray  # (n_labels,), positions among the rows of the blocks
    y: np.ndarray  # (n_labels,), 0.0 or 1.0
    loss_weights: np.ndarray  # (n_labels,), more than 0
    row_weights: np.ndarray  # (n_labels,), how often each row counts
    weights: dict[str, float]  # of the blocks
    C: float


class Intercepts(NamedTuple):
    """A normal prior of b, flat where the spread is inf."""

    centre: float
    spread: float

    @property
    def precision(self) -> float:
        return 1 / self.spread**2


class Dual(NamedTuple):
    """Solutions of some tasks: ``w = sum_i a_i z_i``, and the intercepts."""

    a: np.ndarray  # (n_tasks, n_labels)
    b: np.ndarray  # (n_tasks,)


class Probes(NamedTuple):
    """Models of some tasks, with a score for each, and what the prior adds to them."""

    model: LinearModel  # b + w . z
    slopes: np.ndarray  # (n_tasks,), beta

    def with_slopes(self, prior: ProbePrior) -> LinearModel:
        """The models of all terms: s is linear in the source-task probabilities."""
        per_task = self.slopes / prior.scale
        coef = dict(self.model.coef)
        n_source = coef["probabilities"].shape[1]
        coef["probabilities"] = coef["probabilities"] + per_task[:, None] / n_source
        return LinearModel(coef, self.model.intercept - per_task * prior.centre)


def fit_probes(
    blocks: dict[str, Block],
    tasks: Sequence[FewLabels],
    prior: ProbePrior | None,
) -> Probes:
    """Probes of some tasks.

    Parameters
    ----------
    blocks : dict of arrays of shape (n_samples, n_columns of the block)
        "probabilities" among them where there is a prior.
    tasks : sequence of FewLabels
        Each may show one class, or have no labels. A task without both classes that has
        no prior gets the same probability everywhere, with half a label of each class
        added to those that it has.
    prior : ProbePrior or None
    """
    used = {n for task in tasks for n, weight in task.weights.items() if weight > 0}
    if prior is not None:
        used |= {"probabilities"}
    shapes = {n: (len(tasks), b.shape[1]) for n, b in blocks.items() if n in used}
    coef = {name: np.zeros(shape) for name, shape in shapes.items()}
    model = LinearModel(coef, np.empty(len(tasks)))
    shared = None if prior is None else _shared_of_labels(blocks, tasks, prior)
    empty: list[int] = []
    small: list[int] = []
    large: list[int] = []
    for place, task in enumerate(tasks):
        is_one_sided = len(np.unique(task.y)) < 2
        if len(task.y) == 0 or (prior is None and is_one_sided):
            empty.append(place)
        else:
            (small if len(task.y) <= MAX_DUAL else large).append(place)
    slopes = np.full(len(tasks), 0.0 if prior is None else prior.slope)
    for place in empty:
        task = tasks[place]
        totals = float(task.row_weights @ task.y), float(task.row_weights.sum())
        model.intercept[place] = guess_intercept(*totals, prior)
    width = sum(block.shape[1] for block in blocks.values())
    small.sort(key=lambda place: len(tasks[place].y))
    for places in _share_out(small, [len(task.y) for task in tasks], width):
        _fit_small(blocks, tasks, places, prior, shared, model, slopes)
    for place in large:
        _fit_large(blocks, tasks[place], place, prior, shared, model, slopes)
    return Probes(model, slopes)


def shared_signal(blocks: dict[str, Block], prior: ProbePrior) -> np.ndarray:
    """Standardised mean of the source-task probabilities, of shape (n_samples,)."""
    mean = blocks["probabilities"].mean(axis=1, dtype=np.float64)
    return (mean - prior.centre) / prior.scale


def _shared_of_labels(
    blocks: dict[str, Block], tasks: Sequence[FewLabels], prior: ProbePrior
) -> np.ndarray:
    """`shared_signal` of rows that have labels, and 0 of the others."""
    block = blocks["probabilities"]
    has_labels = np.zeros(block.shape[0], dtype=bool)
    for task in tasks:
        has_labels[task.rows] = True
    rows = np.flatnonzero(has_labels)
    shared = np.zeros(len(has_labels))
    shared[rows] = shared_signal({"probabilities": block[rows]}, prior)
    return shared


def guess_intercept(
    n_positive: float, n_labels: float, prior: ProbePrior | None
) -> float:
    """The intercept without labels of both classes that count."""
    if prior is not None:
        return prior.intercept
    return float(np.log((n_positive + 0.5) / (n_labels - n_positive + 0.5)))


def _share_out(places: list[int], sizes: list[int], width: int) -> list[list[int]]:
    """Tasks to solve at a time, in this order."""
    parts: list[list[int]] = []
    for place in places:
        n_numbers = sizes[place] * (sizes[place] + width)
        if parts and (len(parts[-1]) + 1) * n_numbers <= AT_ONCE:
            parts[-1].append(place)
        else:
            parts.append([place])
    return parts


def _fit_small(
    blocks: dict[str, Block],
    tasks: Sequence[FewLabels],
    places: list[int],
    prior: ProbePrior | None,
    shared: np.ndarray | None,
    model: LinearModel,
    slopes: np.ndarray,
) -> None:
    """Solve the duals of some tasks, and enter them in the model."""
    most = max(len(tasks[place].y) for place in places)
    kernels = np.zeros((len(places), most, most))
    y, loss_weights, signals = np.zeros((3, len(places), most))
    scaled: list[ScaledBlocks] = []
    for k, place in enumerate(places):
        task, n = tasks[place], len(tasks[place].y)
        part = {name: block[task.rows] for name, block in blocks.items()}
        scaled.append(scale_blocks(part, task.weights, task.row_weights))
        kernels[k, :n, :n] = task.C * scaled[k].Z.products()
        y[k, :n], loss_weights[k, :n] = task.y, task.loss_weights
        if prior is not None and shared is not None:
            signals[k, :n] = shared[task.rows]
    (a, b), slopes[places] = solve_kernels(kernels, y, loss_weights, signals, prior)
    for k, place in enumerate(places):
        n = len(tasks[place].y)
        coef = tasks[place].C * (a[k : k + 1, :n] @ scaled[k].Z)
        _enter(scaled[k].for_raw_values(coef, b[k : k + 1]), place, model)


def solve_kernels(
    kernels: np.ndarray,
    y: np.ndarray,
    loss_weights: np.ndarray,
    signals: np.ndarray,
    prior: ProbePrior | None,
) -> tuple[Dual, np.ndarray]:
    """Probes of some tasks, from products of their rows.

    Parameters
    ----------
    kernels : ndarray of shape (n_tasks, n_labels, n_labels)
        Products of weighted features, times C; the prior adds its own in place.
    y, loss_weights : ndarray of shape (n_tasks, n_labels)
        As for `solve_dual`. Without a prior each task shows both classes.
    signals : ndarray of shape (n_tasks, n_labels)
        What the slope of the prior acts on: `shared_signal`.
    prior : ProbePrior or None

    Returns
    -------
    dual : Dual
    slopes : ndarray of shape (n_tasks,)
    """
    intercepts = _intercepts(prior)
    if prior is None:
        nothing = np.zeros_like(y)
        dual = solve_dual(kernels, y, loss_weights, nothing, intercepts)
        return dual, nothing[:, 0]
    variance = prior.slope_spread**2
    kernels += variance * signals[:, :, None] * signals[:, None, :]
    offsets = prior.slope * signals
    a, b = solve_dual(kernels, y, loss_weights, offsets, intercepts)
    rest = _apply(kernels, a) + offsets
    b = settle_intercepts(b, rest, y, loss_weights, prior)
    return Dual(a, b), prior.slope + variance * (signals * a).sum(axis=1)


def _enter(one: LinearModel, place: int, model: LinearModel) -> None:
    for name, coef in one.coef.items():
        model.coef[name][place] = coef[0]
    model.intercept[place] = one.intercept[0]


def _intercepts(prior: ProbePrior | None) -> Intercepts:
    if prior is None:
        return Intercepts(0.0, np.inf)
    return Intercepts(prior.intercept, WIDE)


def solve_dual(
    kernels: np.ndarray,
    y: np.ndarray,
    loss_weights: np.ndarray,
    offsets: np.ndarray,
    intercepts: Intercepts,
) -> Dual:
    """The most probable scores ``K a + b + offset`` of some tasks.

    Minimises ``sum_i l_i log(1 + exp(-(2 y_i - 1) f_i)) + a' K a / 2`` and the penalty
    of b, by Newton's method with the penalty of b replaced by a parabola above it. Each
    step solves ``(K + L^-1) a + 1 b = L^-1 (y - p) l + f``, with L the curvatures of
    the losses (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006,
    algorithm 3.1).

    Parameters
    ----------
    kernels : ndarray of shape (n_tasks, n_labels, n_labels)
    y : ndarray of shape (n_tasks, n_labels)
        0.0 or 1.0.
    loss_weights : ndarray of shape (n_tasks, n_labels)
        0 where a task has fewer labels than others.
    offsets : ndarray of shape (n_tasks, n_labels)
    intercepts : Intercepts
    """
    a = np.zeros_like(y)
    b = np.full(len(y), intercepts.centre)
    if np.isinf(intercepts.spread):
        n_positive = (loss_weights * y).sum(axis=1)
        b = np.log(n_positive / (loss_weights.sum(axis=1) - n_positive))
    active = np.arange(len(y))
    for _ in range(MAX_ITER):
        K = kernels[active]
        of_labels = y[active], loss_weights[active], offsets[active]
        now = _Point(a[active], _apply(K, a[active]), b[active])
        then = _newton_point(K, *of_labels, now, intercepts)
        step = _search(*of_labels, now, then, intercepts)
        a[active] += step[:, None] * (then.a - now.a)
        b[active] += step * (then.b - now.b)
        moved = then.g - now.g + (then.b - now.b)[:, None]
        size = 1 + np.abs(now.g + now.b[:, None]).max(axis=1)
        is_far = (
            np.abs(moved).max(axis=1, where=of_labels[1] > 0, initial=0) > TOL * size
        )
        active = active[is_far & (step > 0)]
        if not len(active):
            break
    return Dual(a, b)


class _Point(NamedTuple):
    a: np.ndarray  # (n_tasks, n_labels)
    g: np.ndarray  # (n_tasks, n_labels): K a
    b: np.ndarray  # (n_tasks,)

    def towards(self, other: "_Point", step: np.ndarray) -> "_Point":
        """The point that lies on the way to another one."""
        along = step[:, None]
        return _Point(
            self.a + along * (other.a - self.a),
            self.g + along * (other.g - self.g),
            self.b + step * (other.b - self.b),
        )


def _apply(kernels: np.ndarray, a: np.ndarray) -> np.ndarray:
    return (kernels @ a[:, :, None])[:, :, 0]


def _newton_point(
    kernels: np.ndarray,
    y: np.ndarray,
    loss_weights: np.ndarray,
    offsets: np.ndarray,
    now: _Point,
    intercepts: Intercepts,
) -> _Point:
    p = expit(now.g + now.b[:, None] + offsets)
    p = np.clip(p, 1e-12, 1 - 1e-12)
    roots = np.sqrt(loss_weights * p * (1 - p))
    systems = roots[:, :, None] * kernels * roots[:, None, :]
    diagonal = np.arange(y.shape[1])
    systems[:, diagonal, diagonal] += 1
    # roots times the response that the curved loss aims at
    with np.errstate(divide="ignore", invalid="ignore"):
        pull = np.where(roots > 0, loss_weights * (y - p) / roots, 0)
    right = np.stack([roots * (now.g + now.b[:, None]) + pull, roots], axis=2)
    solved = roots[:, :, None] * np.linalg.solve(systems, right)
    precision, centre = intercepts.precision, intercepts.centre
    total, per_unit = solved.sum(axis=1).T
    b = (total + precision * centre) / (per_unit + precision)
    a = solved[:, :, 0] - b[:, None] * solved[:, :, 1]
    return _Point(a, _apply(kernels, a), b)


def _penalty(b: Any, intercepts: Intercepts) -> Any:
    return intercepts.precision * (b - intercepts.centre) ** 2


def _search(
    y: np.ndarray,
    loss_weights: np.ndarray,
    offsets: np.ndarray,
    now: _Point,
    then: _Point,
    intercepts: Intercepts,
) -> np.ndarray:
    """Halve steps until the objective does not rise, of shape (n_tasks,)."""

    def objective(point: _Point) -> np.ndarray:
        f = point.g + point.b[:, None] + offsets
        losses = loss_weights * (np.logaddexp(0, f) - y * f)
        ridge = (point.a * point.g).sum(axis=1) + _penalty(point.b, intercepts)
        return losses.sum(axis=1) + ridge / 2

    start = objective(now)
    limit = start + 1e-13 * np.abs(start)
    step = np.ones(len(y))
    for _ in range(MAX_HALVINGS):
        rises = ~(objective(now.towards(then, step)) <= limit)
        if not rises.any():
            return step
        step = np.where(rises, step / 2, step)
    return np.where(rises, 0.0, step)


def _fit_large(
    blocks: dict[str, Block],
    task: FewLabels,
    place: int,
    prior: ProbePrior | None,
    shared: np.ndarray | None,
    model: LinearModel,
    slopes: np.ndarray,
) -> None:
    """Solve for the coefficients of one task, and enter them in the model."""
    part, (n_rows, *_) = blocks, next(iter(blocks.values())).shape
    if not np.array_equal(task.rows, np.arange(n_rows)):  # all of them need no copy
        part = {name: block[task.rows] for name, block in blocks.items()}
    scaled = scale_blocks(part, task.weights, task.row_weights)
    root, slope, spread = float(np.sqrt(task.C)), 0.0, 0.0
    signal = np.zeros(len(task.y))
    if prior is not None and shared is not None:
        slope, spread, signal = prior.slope, prior.slope_spread, shared[task.rows]
    nothing = np.zeros(1)
    signals = Centred((spread * signal)[:, None], nothing, nothing)
    features = SideBySide([*(b.times(root) for b in scaled.Z.blocks), signals])
    v, b = solve_primal(
        features, task.y, task.loss_weights, slope * signal, _intercepts(prior)
    )
    slopes[place] += spread * v[-1]
    if prior is not None:
        rest = (features @ v + slope * signal)[None]
        (b,) = settle_intercepts(b[None], rest, task.y, task.loss_weights, prior)
    _enter(scaled.for_raw_values(root * v[None, :-1], np.array([b])), place, model)


def solve_primal(
    features: np.ndarray | SideBySide,
    y: np.ndarray,
    loss_weights: np.ndarray,
    offset: np.ndarray,
    intercepts: Intercepts,
) -> tuple[np.ndarray, np.ndarray]:
    """The most probable coefficients and intercept of one task with many labels.

    Parameters
    ----------
    features : array of shape (n_labels, n_columns)
        Their coefficients are a priori standard normal.
    y, loss_weights, offset : ndarray of shape (n_labels,)
    intercepts : Intercepts

    Returns
    -------
    coef : ndarray of shape (n_columns,)
    intercept : ndarray of shape ()
    """
    share = np.clip(np.average(y, weights=loss_weights), 0.01, 0.99)
    start = np.zeros(features.shape[1] + 1)
    start[-1] = np.log(share / (1 - share))

    def objective(v: np.ndarray) -> tuple[float, np.ndarray]:
        coef, b = v[:-1], v[-1]
        f = features @ coef + b + offset
        pull = loss_weights * (y - expit(f))
        value = loss_weights @ (np.logaddexp(0, f) - y * f) + coef @ coef / 2
        value += _penalty(b, intercepts) / 2
        slope = intercepts.precision * (b - intercepts.centre) - pull.sum()
        return float(value), np.append(coef - pull @ features, slope)

    options = OPTIONS | {"gtol": 1e-6 * len(y) ** 0.5}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    return found.x[:-1], found.x[-1:][0]


def settle_intercepts(
    b: np.ndarray,
    rest: np.ndarray,
    y: np.ndarray,
    loss_weights: np.ndarray,
    prior: ProbePrior,
) -> np.ndarray:
    """The most probable intercepts where all other terms of the scores are known.

    A parabola that touches the penalty of Student's t lies above it, so that steps of
    Newton's method on the sum never rise.

    Parameters
    ----------
    b : ndarray of shape (n_tasks,)
        Where to start.
    rest : ndarray of shape (n_tasks, n_labels)
        Scores without the intercept.
    y, loss_weights : ndarray of shape (n_tasks, n_labels)
    prior : ProbePrior

    Returns
    -------
    ndarray of shape (n_tasks,)
    """
    for _ in range(MAX_ITER):
        p = expit(rest + b[:, None])
        distance = b - prior.intercept
        precision = (TAIL + 1) / (TAIL * prior.intercept_spread**2 + distance**2)
        slope = (loss_weights * (p - y)).sum(axis=1) + precision * distance
        curvature = (loss_weights * p * (1 - p)).sum(axis=1) + precision
        step = np.clip(slope / curvature, -1, 1)
        b = b - step
        if np.abs(step).max() < TOL:
            break
    return b
