"""Probes of source tasks that were left out, and what they reach."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mtrl_sklearn._arrays.threads import one_thread
from mtrl_sklearn._labels.signs import Signs, sign_column
from mtrl_sklearn._training.prior import ProbePrior
from mtrl_sklearn.probing._draws import Draw
from mtrl_sklearn.probing._forecast import Reached
from mtrl_sklearn.probing._map_logistic import guess_intercept, solve_kernels
from mtrl_sklearn.probing._products import MovedBlock, Products, multiply_rows
from mtrl_sklearn.probing._settings import ProbeSettings, resolve_settings

# Products that are held at a time.
AT_ONCE = 2**24


class Problem(NamedTuple):
    """Labels of a task, of which few are trained on; rows are those of some blocks."""

    task: int
    few: dict[int, np.ndarray]  # rows by number of labels, smaller in larger
    test: np.ndarray  # (n_test,), rows
    positive: np.ndarray  # (n_rows,), bool, of all rows of the blocks

    @property
    def largest(self) -> np.ndarray:
        """Rows of the largest number of labels."""
        return self.few[max(self.few)]


class LeftOut(NamedTuple):
    """Few-shot problems of tasks that were left out, with features of their rows."""

    blocks: dict[str, MovedBlock]
    mean: np.ndarray | None  # (n_rows,), of the probabilities of other tasks
    problems: list[Problem]


def list_entries(draws: Iterable[Draw]) -> np.ndarray:
    """Entries that some draws need, sorted."""
    parts = [np.zeros(0, dtype=int)]
    for draw in draws:
        parts += [draw.test, *draw.few.values()]
    return np.unique(np.concatenate(parts))


def keep_problems(
    blocks: dict[str, MovedBlock],
    mean: np.ndarray | None,
    signs: Signs,
    problems: Sequence[tuple[int, Draw]],
) -> LeftOut:
    """The first problem of each task, with the entries that these need, and no others.

    Parameters
    ----------
    blocks : dict of MovedBlock, of n_entries
    mean : ndarray of shape (n_entries,) or None
        Of the probabilities of tasks that were not left out.
    signs : Signs of shape (n_entries, n_tasks)
    problems : sequence of tuples of task and Draw, of entries
    """
    first = dict(reversed(problems))
    entries = list_entries(first.values())
    kept = [
        Problem(
            int(task),
            {k: np.searchsorted(entries, few) for k, few in draw.few.items()},
            np.searchsorted(entries, draw.test),
            sign_column(signs, task)[entries] > 0,
        )
        for task, draw in sorted(first.items())
    ]
    some = {name: block.keep(entries) for name, block in blocks.items()}
    return LeftOut(some, None if mean is None else mean[entries], kept)


def score_left_out(
    left_out: LeftOut, settings: ProbeSettings, shots: tuple[int, ...]
) -> dict[int, dict[int, tuple[float, ...]]]:
    """Scores of probes with these settings.

    Returns
    -------
    dict of dict of tuple
        For each number of labels, and each task: ROC-AUC, average precision less the
        prevalence, log loss.
    """
    prior = settings.prior
    signal = np.zeros(len(left_out.problems[0].positive) if left_out.problems else 0)
    if prior is not None and left_out.mean is not None:
        signal = (left_out.mean - prior.centre) / prior.scale
    found: dict[int, dict[int, tuple[float, ...]]] = {}
    with one_thread():
        for part in _share_out(left_out.problems):
            pairs = [
                (p, multiply_rows(left_out.blocks, p.largest, p.test)) for p in part
            ]
            for k in shots:
                chosen = [pair for pair in pairs if k == 0 or k in pair[0].few]
                if not chosen:
                    continue
                weights, C = resolve_settings(
                    "auto", "auto", settings, left_out.blocks, k
                )
                shares = C * np.array([*weights.values()])
                scores = _fit(chosen, k, shares, prior, signal)
                for (p, _), of_problem in zip(chosen, scores):
                    scored = _score(p.positive[p.test], of_problem)
                    found.setdefault(k, {})[p.task] = scored
    return found


def _share_out(problems: list[Problem]) -> Iterator[list[Problem]]:
    """Problems to solve at a time, in this order."""
    part: list[Problem] = []
    total = 0
    for p in problems:
        n_numbers = len(p.largest) * (len(p.largest) + len(p.test))
        if part and total + n_numbers > AT_ONCE:
            yield part
            part, total = [], 0
        part.append(p)
        total += n_numbers
    if part:
        yield part


def _fit(
    problems: list[tuple[Problem, Products]],
    k: int,
    shares: np.ndarray,
    prior: ProbePrior | None,
    signal: np.ndarray,
) -> list[np.ndarray]:
    """Scores of the test rows of each problem, of a probe with k labels.

    Parameters
    ----------
    problems : list of tuples of Problem and its Products
    k : int
    shares : ndarray of shape (n_blocks,)
        Weight of each block, times C.
    prior : ProbePrior or None
    signal : ndarray of shape (n_rows,)
        What the prior acts on.
    """
    y = np.array([p.positive[p.few[k]] if k else [] for p, _ in problems], dtype=float)
    y = y.reshape(len(problems), k)
    slopes = np.full(len(y), 0.0 if prior is None else prior.slope)
    b = np.array([guess_intercept(n, k, prior) for n in y.sum(axis=1)])
    a = np.zeros_like(y)
    if k:
        centred = [products.centre(p.few[k]) for p, products in problems]
        kernels = np.array([np.tensordot(shares, c.among, axes=1) for c in centred])
        signals = signal[[p.few[k] for p, _ in problems]]
        both = (y.min(axis=1) < y.max(axis=1)) | (prior is not None)
        (a[both], b[both]), slopes[both] = solve_kernels(
            kernels[both], y[both], np.ones_like(y[both]), signals[both], prior
        )
    scores = [
        c + slope * signal[p.test] for c, slope, (p, _) in zip(b, slopes, problems)
    ]
    if k:
        for found, c, dual in zip(scores, centred, a):
            found += c.score(shares[None], dual[None])[0]
    return scores


def _score(positive: np.ndarray, scores: np.ndarray) -> tuple[float, ...]:
    """ROC-AUC, average precision less the prevalence, log loss, by one sort."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # of equal ones
    found = np.cumsum(positive[order])[ends]
    n_seen, n_positive = ends + 1, found[-1]
    new, new_negative = np.diff(found, prepend=0), np.diff(n_seen - found, prepend=0)
    n_pairs = n_positive * (len(scores) - n_positive)
    roc_auc = new_negative @ (found - new / 2) / n_pairs
    precision = (new / n_positive) @ (found / n_seen)
    loss = np.mean(np.logaddexp(0, scores) - positive * scores)
    return float(roc_auc), float(precision - positive.mean()), float(loss)


def collect(
    found: Sequence[dict[int, dict[int, tuple[float, ...]]]],
    shots: tuple[int, ...],
) -> Reached:
    """Scores of the tasks of all groups, by number of labels."""
    known = [k for k in shots if any(k in of_group for of_group in found)]
    by_metric: list[list[tuple[float, ...]]] = [[], [], []]
    for k in known:
        of_tasks = [
            scores
            for of_group in found
            for _, scores in sorted(of_group.get(k, {}).items())
        ]
        for scores, values in zip(by_metric, zip(*of_tasks)):
            scores.append(values)
    return Reached(tuple(known), *map(tuple, by_metric))
