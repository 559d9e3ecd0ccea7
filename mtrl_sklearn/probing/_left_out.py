"""Probes of source tasks that were left out, and what they reach."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mtrl_sklearn._arrays.threads import one_thread
from mtrl_sklearn._labels.signs import Signs, sign_column
from mtrl_sklearn.probing._blocks import Blocks
from mtrl_sklearn.probing._draws import Draw
from mtrl_sklearn.probing._forecast import Reached
from mtrl_sklearn.probing._map_logistic import FewLabels, fit_probes
from mtrl_sklearn.probing._settings import ProbeSettings, resolve_settings


class Problem(NamedTuple):
    """Labels of a task, of which few are trained on; rows are those of some blocks."""

    task: int
    few: dict[int, np.ndarray]  # rows by number of labels
    test: np.ndarray  # (n_test,), rows
    positive: np.ndarray  # (n_rows,), bool, of all rows of the blocks


class LeftOut(NamedTuple):
    """Few-shot problems of tasks that were left out, with features of their rows."""

    blocks: Blocks
    problems: list[Problem]


def keep_problems(
    blocks: Blocks,
    rows_of: Callable[[np.ndarray], np.ndarray],
    signs: Signs,
    problems: Sequence[tuple[int, Draw]],
) -> LeftOut:
    """Problems with the entries that they need, and no others.

    Parameters
    ----------
    blocks : Blocks of n_samples rows
    rows_of : callable
        Rows of the blocks that entries belong to.
    signs : Signs of shape (n_entries, n_tasks)
    problems : sequence of tuples of task and Draw, of entries
    """
    parts = [np.zeros(0, dtype=int)]
    for _, draw in problems:
        parts += [draw.test, *draw.few.values()]
    entries = np.unique(np.concatenate(parts))
    kept = [
        Problem(
            int(task),
            {k: np.searchsorted(entries, few) for k, few in draw.few.items()},
            np.searchsorted(entries, draw.test),
            sign_column(signs, task)[entries] > 0,
        )
        for task, draw in problems
    ]
    return LeftOut(blocks.take(rows_of(entries)), kept)


def score_left_out(
    left_out: LeftOut, settings: ProbeSettings, shots: tuple[int, ...]
) -> dict[int, dict[int, list[tuple[float, ...]]]]:
    """Scores of probes with these settings.

    Returns
    -------
    dict of dict of list
        For each number of labels, and each task, those of each draw: ROC-AUC, average
        precision less the prevalence, log loss.
    """
    present = left_out.blocks.present
    found: dict[int, dict[int, list[tuple[float, ...]]]] = {}
    with one_thread():
        for k in shots:
            problems = [p for p in left_out.problems if k in p.few or k == 0]
            if not problems:
                continue
            weights, C = resolve_settings("auto", "auto", settings, present, k)
            tasks = [
                FewLabels(
                    rows,
                    p.positive[rows].astype(np.float64),
                    np.ones(len(rows)),
                    np.ones(len(rows)),
                    weights,
                    C,
                )
                for p in problems
                for rows in [p.few.get(k, p.test[:0])]
            ]
            probes = fit_probes(present, tasks, settings.prior)
            model = probes.model
            if settings.prior is not None:
                model = probes.with_slopes(settings.prior)
            for place, p in enumerate(problems):
                scores = np.full(len(p.test), model.intercept[place])
                for name, coef in model.coef.items():
                    scores += present[name][p.test] @ coef[place]
                of_task = found.setdefault(k, {}).setdefault(p.task, [])
                of_task.append(_score(p.positive[p.test], scores))
    return found


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
    found: Sequence[dict[int, dict[int, list[tuple[float, ...]]]]],
    shots: tuple[int, ...],
) -> Reached:
    """Scores of all tasks, means over their draws, by number of labels."""
    known = [k for k in shots if any(k in of_group for of_group in found)]
    by_metric: list[list[tuple[float, ...]]] = [[], [], []]
    for k in known:
        means = [
            np.mean(draws, axis=0)
            for of_group in found
            for _, draws in sorted(of_group.get(k, {}).items())
        ]
        for scores, values in zip(by_metric, np.transpose(means).tolist()):
            scores.append(tuple(values))
    return Reached(tuple(known), *map(tuple, by_metric))
