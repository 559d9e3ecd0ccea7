"""What a probe of a new task will reach: the scores of source tasks left out."""

from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

# Fewer labels count as so many where something by their number is interpolated.
LEAST_LABELS = 0.5

LOW, HIGH = 0.1, 0.9


class Spread(NamedTuple):
    """How a score is distributed over tasks."""

    mean: float
    std: float
    q10: float
    q50: float
    q90: float


@dataclass(frozen=True)
class Forecast:
    """What left-out source tasks reached with some number of labels.

    Attributes
    ----------
    n_labels : float
    n_tasks : int
        Tasks that were left out.
    most_tried : int
        The largest number of labels that was tried. With more the scores are those
        with so many.
    roc_auc, delta_auprc, log_loss : Spread
        Mean, standard deviation and 10, 50 and 90 % quantiles over tasks (``mean``,
        ``std``, ``q10``, ``q50``, ``q90``) of ROC-AUC, average precision less the
        prevalence, and log loss.
    """

    n_labels: float
    n_tasks: int
    most_tried: int
    roc_auc: Spread
    delta_auprc: Spread
    log_loss: Spread

    def __str__(self) -> str:
        auc, gain, loss = self.roc_auc, self.delta_auprc, self.log_loss
        beyond = f", as with {self.most_tried}, the most that was tried"
        which = "80 % of tasks" if self.n_tasks >= ENOUGH_TASKS else "these tasks"
        return (
            f"{self.n_labels:g} labels{beyond * (self.n_labels > self.most_tried)}: "
            f"ROC-AUC {auc.mean:.2f}, {which} between "
            f"{auc.q10:.2f} and {auc.q90:.2f}; average precision {gain.mean:.2f} above "
            f"the prevalence, between {gain.q10:.2f} and {gain.q90:.2f}; log loss "
            f"{loss.mean:.2f}, between {loss.q10:.2f} and {loss.q90:.2f} "
            f"({self.n_tasks} source tasks, left out)."
        )


# Left-out tasks whose quantiles hold their share of further ones. Those of fewer are
# their lowest and highest scores, between which fewer of these fall.
ENOUGH_TASKS = 9

METRICS = ("roc_auc", "delta_auprc", "log_loss")


@dataclass(frozen=True)
class Reached:
    """Scores of left-out source tasks, by number of labels.

    Attributes
    ----------
    n_labels : tuple of int
        Ascending.
    roc_auc, delta_auprc, log_loss : tuple of tuples of float
        For each number of labels the score of each task, with one draw of labels.
    """

    n_labels: tuple[int, ...]
    roc_auc: tuple[tuple[float, ...], ...]
    delta_auprc: tuple[tuple[float, ...], ...]
    log_loss: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        n = len(self.n_labels)
        sizes = [[len(s) for s in getattr(self, metric)] for metric in METRICS]
        is_whole = n > 0 and all(of == sizes[0] for of in sizes) and all(sizes[0])
        is_ascending = all(a < b for a, b in zip((-1, *self.n_labels), self.n_labels))
        if not (is_whole and is_ascending and len(sizes[0]) == n):
            raise ValueError(
                "reached should hold, for ascending numbers of labels, scores of the "
                "same tasks by each metric."
            )

    def at(self, n_labels: float) -> Forecast:
        """Interpolated, linear in the logarithm; beyond they stay as they are."""
        x, known = (
            np.log(np.maximum(n, LEAST_LABELS)) for n in (n_labels, self.n_labels)
        )
        counts = [len(scores) for scores in self.roc_auc]
        below = max(int(np.searchsorted(known, x, side="right")) - 1, 0)
        above = min(int(np.searchsorted(known, x)), len(known) - 1)
        spreads = []
        for metric in METRICS:
            by_count = [_spread(scores) for scores in getattr(self, metric)]
            columns = zip(*by_count)
            spreads.append(Spread(*(float(np.interp(x, known, c)) for c in columns)))
        n_tasks = min(counts[below], counts[above])
        return Forecast(n_labels, n_tasks, self.n_labels[-1], *spreads)


def _spread(scores: tuple[float, ...]) -> Spread:
    """Quantiles that hold their share of further tasks, if there are nine at least.

    A new task is as likely to fall between any two neighbours of T scores, or beyond
    either end: with probability 1 / (T + 1). Quantiles of the T scores themselves hold
    64 instead of 80 % of new tasks where T = 9, 76 % where T = 40.
    """
    quantiles = np.quantile(scores, (LOW, 0.5, HIGH), method="weibull")
    return Spread(*map(float, (np.mean(scores), np.std(scores), *quantiles)))


def read_count(n_labels: Any) -> float:
    """A number of labels.

    Raises
    ------
    ValueError
        If it is none.
    """
    if not isinstance(n_labels, Real) or not 0 <= float(n_labels) < np.inf:
        raise ValueError(
            f"n_labels={n_labels!r} should be a number of labels, of at least 0."
        )
    return n_labels if isinstance(n_labels, int) else float(n_labels)
