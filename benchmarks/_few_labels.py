"""Few labels of new tasks, what is fitted to them, and how it is scored.

A column is one draw of one task. A contender maps the labels of all columns, of which
the rows that were not drawn are NaN, to probabilities on the test rows.
"""

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

MIN_TEST = 5  # labels of each class
RICH = 64  # labels of the rarer class that tasks need; less where few have so many


class Drawn(NamedTuple):
    """New tasks, a column for each draw of each."""

    task: np.ndarray  # (n_columns,)
    seed: np.ndarray  # (n_columns,), of each draw
    train: np.ndarray  # (n_train, n_columns): 1, 0, NaN
    test: np.ndarray  # (n_test, n_columns)

    def few(self, k, sampling):
        """Labels of which k were drawn, and columns that have so many."""
        drawn = np.full(self.train.shape, np.nan)
        has_all = np.zeros(len(self.task), dtype=bool)
        for column, (y, seed) in enumerate(zip(self.train.T, self.seed)):
            rng = np.random.default_rng([seed, self.task[column]])
            rows = rng.permutation(np.flatnonzero(~np.isnan(y)))
            if sampling == "balanced":
                halves = rows[y[rows] == 1][: k // 2], rows[y[rows] == 0][: k - k // 2]
                rows = np.concatenate(halves)
            rows = rows[:k]
            drawn[rows, column] = y[rows]
            has_all[column] = len(rows) == k
        return drawn[:, has_all], has_all


def draw_tasks(problem, n_tasks, n_draws, seed, least=RICH):
    """Tasks that can be tested on, those with many labels if there are enough.

    Of the rarer class they have ``least`` labels on the rows to draw from.
    """
    train, test = (problem.Y[mask] for mask in (~problem.is_test, problem.is_test))
    counts = [np.minimum((Y == 1).sum(0), (Y == 0).sum(0)) for Y in (train, test)]
    usable = np.flatnonzero(problem.new & (counts[1] >= MIN_TEST) & (counts[0] > 0))
    rich = usable[counts[0][usable] >= least]
    usable = rich if len(rich) >= 8 else usable
    tasks = np.random.default_rng(seed).permutation(usable)[:n_tasks]
    columns = np.repeat(tasks, n_draws)
    seeds = np.tile(np.arange(n_draws), len(tasks))
    return Drawn(columns, seeds, train[:, columns], test[:, columns])


def base_rate(few):
    """The share of positives among the labels, half a label of each class added."""
    return (np.nansum(few, axis=0) + 0.5) / ((~np.isnan(few)).sum(axis=0) + 1)


def shows_both(few):
    """Which columns show both classes."""
    return (few == 1).any(axis=0) & (few == 0).any(axis=0)


def with_few(fit, n_test):
    """A contender of a function of rows and their labels, which show both classes."""

    def contender(few):
        found = np.tile(base_rate(few), (n_test, 1))
        for column, y in enumerate(few.T):
            rows = np.flatnonzero(~np.isnan(y))
            if len(np.unique(y[rows])) == 2:
                found[:, column] = fit(rows, y[rows])
        return found

    return contender


def logistic(X, X_test, C):
    def fit(rows, y):
        model = LogisticRegression(C=C, max_iter=500).fit(X[rows], y)
        return model.predict_proba(X_test)[:, 1]

    return with_few(fit, len(X_test))


class Scores(NamedTuple):
    """Scores of columns, each of shape (n_columns,)."""

    roc_auc: np.ndarray
    delta_auprc: np.ndarray  # average precision less the prevalence
    log_loss: np.ndarray  # divided by that of always saying the prevalence
    brier: np.ndarray


def score(Y, P):
    """Scores of the observed labels, column by column."""
    found = []
    for y, p in zip(Y.T, P.T):
        seen = ~np.isnan(y)
        y, p = y[seen] == 1, np.clip(p[seen], 1e-12, 1 - 1e-12)
        share, n = y.mean(), y.sum()
        auc = (rankdata(p)[y].sum() - n * (n + 1) / 2) / (n * (len(y) - n))
        loss = -np.mean(np.where(y, np.log(p), np.log1p(-p)))
        least = -share * np.log(share) - (1 - share) * np.log(1 - share)
        precision = average_precision_score(y, p)
        found.append((auc, precision - share, loss / least, np.mean((p - y) ** 2)))
    return Scores(*np.array(found).reshape(-1, 4).T)


def calibration_error(Y, P, n_bins=10):
    """Mean distance of probability and frequency, over bins of as many labels each."""
    seen = ~np.isnan(Y)
    order = np.argsort(P[seen], kind="stable")
    bins = np.array_split(np.stack([P[seen], Y[seen]])[:, order], n_bins, axis=1)
    sizes = [part.shape[1] for part in bins if part.shape[1]]
    gaps = [abs(np.subtract(*part.mean(axis=1))) for part in bins if part.shape[1]]
    return float(np.average(gaps, weights=sizes))


def by_task(drawn, has_all, values):
    """Means over the draws of each task."""
    tasks = drawn.task[has_all]
    return np.array([values[tasks == task].mean() for task in np.unique(tasks)])
