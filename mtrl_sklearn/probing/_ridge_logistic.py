"""Logistic regression on weighted blocks of features, for few rows and many columns."""

from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression


class LinearModel(NamedTuple):
    """Scores ``sum_b X_b @ coef[b].T + intercept`` of raw blocks of features."""

    coef: dict[str, np.ndarray]  # by block, each (n_scores, n_columns of the block)
    intercept: np.ndarray  # (n_scores,)

    def scores(self, blocks: dict[str, np.ndarray]) -> np.ndarray:
        """Scores of shape (n_samples, n_scores)."""
        parts = [blocks[name] @ coef.T for name, coef in self.coef.items()]
        return sum(parts) + self.intercept


def block_scale(block: np.ndarray) -> float:
    """Root of the mean squared norm of centred rows; 1 where all rows are the same.

    Rows are the same up to rounding errors of their type.
    """
    largest = float(np.abs(block).max())
    if largest == 0:
        return 1.0
    rows = block.astype(np.float64) / largest  # so that squares stay in range
    centred = rows - rows.mean(axis=0)
    spread = np.abs(centred).max()
    if spread <= 10 * np.finfo(block.dtype).eps:
        return 1.0
    mean_square = np.square(centred / spread).sum(axis=1).mean()
    return float(largest * spread * np.sqrt(mean_square))


def fit_ridge_logistic(
    blocks: dict[str, np.ndarray], y: np.ndarray, weights: dict[str, float], C: float
) -> LinearModel:
    """Minimise ``C * sum of logistic losses + ||w||^2 / 2`` over scaled features.

    A block is divided by one factor, so that its centred rows have a mean squared norm
    equal to its weight. The solution lies in the span of the rows: where there are
    fewer rows than columns the problem is solved in coordinates of that span, with the
    same result.

    Parameters
    ----------
    blocks : dict of ndarrays of shape (n_samples, n_columns of the block)
    y : ndarray of shape (n_samples,)
        Labels of two or more classes.
    weights : dict of float
        Weight of each block; a block of weight 0 is not used.
    C : float
        Inverse strength.
    """
    used = {n: b.astype(np.float64) for n, b in blocks.items() if weights[n] > 0}
    scales = {name: block_scale(blocks[name]) for name in used}
    means = {n: (block / scales[n]).mean(axis=0) for n, block in used.items()}
    roots = {name: np.sqrt(weights[name]) for name in used}
    Z = np.hstack(
        [roots[n] * (block / scales[n] - means[n]) for n, block in used.items()]
    )
    basis = None
    if Z.shape[0] < Z.shape[1]:
        values, vectors = np.linalg.eigh(Z @ Z.T)
        kept = values > 1e-12 * values[-1]
        roots_of_values = np.sqrt(values[kept])
        basis = vectors[:, kept].T @ Z / roots_of_values[:, None]
        Z = vectors[:, kept] * roots_of_values
    model = LogisticRegression(C=C, tol=1e-6, max_iter=1000).fit(Z, y)
    coef = model.coef_ if basis is None else model.coef_ @ basis
    stops = np.cumsum([block.shape[1] for block in used.values()])[:-1]
    parts = dict(zip(used, np.split(coef, stops, axis=1)))
    shift = sum(roots[name] * (part @ means[name]) for name, part in parts.items())
    raw = {n: (roots[n] / scales[n]) * part for n, part in parts.items()}
    return LinearModel(raw, model.intercept_ - shift)
