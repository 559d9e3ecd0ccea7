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


class ScaledBlocks(NamedTuple):
    """Blocks side by side: centred, of a mean squared norm equal to their weights."""

    Z: np.ndarray  # (n_samples, n_columns of all blocks), float64
    origins: dict[str, np.ndarray]  # by block, each (n_columns,): raw values
    means: dict[str, np.ndarray]  # of what is moved to the origin and divided
    factors: dict[str, float]  # by which that was multiplied
    scales: dict[str, float]  # by which raw values were divided

    def for_raw_values(self, coef: np.ndarray, intercept: np.ndarray) -> LinearModel:
        """The model of raw blocks that scores as one of ``Z`` does.

        Parameters
        ----------
        coef : ndarray of shape (n_scores, n_columns of all blocks)
        intercept : ndarray of shape (n_scores,)
        """
        stops = np.cumsum([len(mean) for mean in self.means.values()])[:-1]
        parts = dict(zip(self.means, np.split(coef, stops, axis=1)))
        factors, scales = self.factors, self.scales
        raw = {n: (factors[n] / scales[n]) * part for n, part in parts.items()}
        shift = sum(factors[n] * (part @ self.means[n]) for n, part in parts.items())
        shift = shift + sum(coef @ self.origins[n] for n, coef in raw.items())
        return LinearModel(raw, intercept - shift)


def block_scales(
    blocks: dict[str, np.ndarray], row_weights: np.ndarray | None = None
) -> dict[str, float]:
    """Factors to divide blocks by: the root of the mean squared norm of centred rows.

    A block that does not vary has the factor inf, and so no part in anything. All
    blocks follow from the inputs: where these do not vary, what varies in the others
    are rounding errors.

    Parameters
    ----------
    blocks : dict of ndarrays of shape (n_samples, n_columns of the block)
    row_weights : ndarray of shape (n_samples,), default=None
        How often each row counts.
    """
    if "inputs" in blocks and np.isinf(block_scale(blocks["inputs"], row_weights)):
        return dict.fromkeys(blocks, np.inf)
    return {name: block_scale(block, row_weights) for name, block in blocks.items()}


def scale_blocks(
    blocks: dict[str, np.ndarray],
    weights: dict[str, float],
    row_weights: np.ndarray | None = None,
) -> ScaledBlocks:
    """Divide each block by one factor, and centre its rows.

    Parameters
    ----------
    blocks : dict of ndarrays of shape (n_samples, n_columns of the block)
        Of at least one row.
    weights : dict of float
        Weight of each block; a block of weight 0 is not used.
    row_weights : ndarray of shape (n_samples,), default=None
        How often each row counts.
    """
    used = {n: b.astype(np.float64) for n, b in blocks.items() if weights[n] > 0}
    scales = block_scales(blocks, row_weights)
    origins = {name: block[0] for name, block in used.items()}
    moved = {n: (block - origins[n]) / scales[n] for n, block in used.items()}
    means = {n: np.average(b, axis=0, weights=row_weights) for n, b in moved.items()}
    roots = {name: float(np.sqrt(weights[name])) for name in used}
    Z = np.hstack([roots[n] * (block - means[n]) for n, block in moved.items()])
    return ScaledBlocks(Z, origins, means, roots, scales)


def fit_ridge_logistic(
    blocks: dict[str, np.ndarray],
    y: np.ndarray,
    weights: dict[str, float],
    C: float,
    sample_weight: np.ndarray | None = None,
    row_weights: np.ndarray | None = None,
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
    sample_weight : ndarray of shape (n_samples,), default=None
        Weights of losses.
    row_weights : ndarray of shape (n_samples,), default=None
        How often each row counts where blocks are scaled.
    """
    scaled = scale_blocks(blocks, weights, row_weights)
    Z, basis = scaled.Z, None
    if Z.shape[0] < Z.shape[1] and Z.any():
        values, vectors = np.linalg.eigh(Z @ Z.T)
        kept = values > 1e-12 * values[-1]
        roots_of_values = np.sqrt(values[kept])
        basis = vectors[:, kept].T @ Z / roots_of_values[:, None]
        Z = vectors[:, kept] * roots_of_values
    model = LogisticRegression(C=C, tol=1e-6, max_iter=1000).fit(Z, y, sample_weight)
    coef = model.coef_ if basis is None else model.coef_ @ basis
    return scaled.for_raw_values(coef, model.intercept_)


def fit_classes(
    blocks: dict[str, np.ndarray],
    codes: np.ndarray,
    n_classes: int,
    weights: dict[str, float],
    C: float,
    sample_weight: np.ndarray,
    row_weights: np.ndarray,
) -> LinearModel:
    """A score for each of more than two classes, some of which may have no labels.

    Those get the same score everywhere, as if half a label of each class had been seen
    in addition.

    Parameters
    ----------
    blocks : dict of ndarrays of shape (n_samples, n_columns of the block)
    codes : ndarray of shape (n_samples,)
        Classes, from 0 to n_classes - 1.
    n_classes : int
        More than 2.
    weights, C
        As for `fit_ridge_logistic`.
    sample_weight, row_weights : ndarray of shape (n_samples,)
        Rows of weight 0 do not count.
    """
    counts = row_weights > 0
    codes, row_weights = codes[counts], row_weights[counts]
    parts = {name: block[counts] for name, block in blocks.items()}
    used = [name for name in blocks if weights[name] > 0]
    totals = np.bincount(codes, row_weights, minlength=n_classes)
    coef = {name: np.zeros((n_classes, blocks[name].shape[1])) for name in used}
    intercept = np.log((totals + 0.5) / (totals + 0.5).sum())
    shown = np.flatnonzero(totals)
    if len(shown) > 1:
        model = fit_ridge_logistic(
            parts, codes, weights, C, sample_weight[counts], row_weights
        )
        two = np.array([[-0.5], [0.5]]) if len(shown) == 2 else np.eye(len(shown))
        for name in used:
            coef[name][shown] = two @ model.coef[name]
        centre = np.mean(intercept[shown])
        intercept[shown] = two @ model.intercept + (
            centre if len(shown) < n_classes else 0
        )
    return LinearModel(coef, intercept)
