"""Logistic regression on weighted blocks of features, for few rows and many columns."""

from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression

from mtrl_sklearn._arrays.block_scale import block_scale


class LinearModel(NamedTuple):
    """Scores ``sum_b X_b @ coef[b].T + intercept`` of raw blocks of features."""

    coef: dict[str, np.ndarray]  # by block, each (n_scores, n_columns of the block)
    intercept: np.ndarray  # (n_scores,)

    def scores(self, blocks: dict[str, np.ndarray]) -> np.ndarray:
        """Scores of shape (n_samples, n_scores)."""
        parts = [blocks[name] @ coef.T for name, coef in self.coef.items()]
        return sum(parts) + self.intercept


def block_scales(blocks: dict[str, np.ndarray]) -> dict[str, float]:
    """Factors to divide blocks by: the root of the mean squared norm of centred rows.

    A block that does not vary has the factor inf, and so no part in anything. All
    blocks follow from the inputs: where these do not vary, what varies in the others
    are rounding errors.

    Parameters
    ----------
    blocks : dict of ndarrays of shape (n_samples, n_columns of the block)
    """
    if "inputs" in blocks and np.isinf(block_scale(blocks["inputs"])):
        return dict.fromkeys(blocks, np.inf)
    return {name: block_scale(block) for name, block in blocks.items()}


def fit_ridge_logistic(
    blocks: dict[str, np.ndarray], y: np.ndarray, weights: dict[str, float], C: float
) -> LinearModel:
    """Minimise ``C * sum of logistic losses + ||w||^2 / 2`` over scaled features.

    A block is divided by one factor, so that its centred rows have a mean squared norm
    equal to its weight; one that does not vary gets coefficients of 0. The solution
    lies in the span of the rows: where there are fewer rows than columns the problem is
    solved in coordinates of that span, with the same result.

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
    scales = block_scales(blocks)
    origins = {name: block[0] for name, block in used.items()}
    moved = {n: (block - origins[n]) / scales[n] for n, block in used.items()}
    means = {name: block.mean(axis=0) for name, block in moved.items()}
    roots = {name: np.sqrt(weights[name]) for name in used}
    Z = np.hstack([roots[n] * (block - means[n]) for n, block in moved.items()])
    basis = None
    if Z.shape[0] < Z.shape[1] and Z.any():
        values, vectors = np.linalg.eigh(Z @ Z.T)
        kept = values > 1e-12 * values[-1]
        roots_of_values = np.sqrt(values[kept])
        basis = vectors[:, kept].T @ Z / roots_of_values[:, None]
        Z = vectors[:, kept] * roots_of_values
    model = LogisticRegression(C=C, tol=1e-6, max_iter=1000).fit(Z, y)
    coef = model.coef_ if basis is None else model.coef_ @ basis
    stops = np.cumsum([block.shape[1] for block in used.values()])[:-1]
    parts = dict(zip(used, np.split(coef, stops, axis=1)))
    raw = {n: (roots[n] / scales[n]) * part for n, part in parts.items()}
    shift = sum(roots[n] * (part @ means[n]) for n, part in parts.items())
    shift = shift + sum(coef @ origins[n] for n, coef in raw.items())
    return LinearModel(raw, model.intercept_ - shift)
