"""Logistic regression on weighted blocks of features, for few rows and many columns."""

import math
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from mtrl_sklearn._arrays.block_scale import block_scale
from mtrl_sklearn._arrays.centred import Block, SideBySide, centre
from mtrl_sklearn._arrays.computed import is_computed

# More rows than this are solved for coefficients, even where columns are more.
MAX_DUAL = 1000

# Numbers of a block with many labels that are held, 1 GB of float32.
MOST_HELD = 2**28

OPTIONS = {"maxiter": 2000, "ftol": 1e-16}


class LinearModel(NamedTuple):
    """Scores ``sum_b X_b @ coef[b].T + intercept`` of raw blocks of features."""

    coef: dict[str, np.ndarray]  # by block, each (n_scores, n_columns of the block)
    intercept: np.ndarray  # (n_scores,)

    def scores(self, blocks: dict[str, Block]) -> np.ndarray:
        """Scores of shape (n_samples, n_scores)."""
        parts = [blocks[name] @ coef.T for name, coef in self.coef.items()]
        return sum(parts) + self.intercept


class ScaledBlocks(NamedTuple):
    """Blocks side by side: centred, of a mean squared norm equal to their weights."""

    Z: SideBySide  # (n_samples, n_columns of all blocks)
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
    blocks: dict[str, Block], row_weights: np.ndarray | None = None
) -> dict[str, float]:
    """Factors to divide blocks by: the root of the mean squared norm of centred rows.

    A block that does not vary has the factor inf, and so no part in anything. All
    blocks follow from the inputs: where these do not vary, what varies in the others
    are rounding errors.

    Parameters
    ----------
    blocks : dict of arrays of shape (n_samples, n_columns of the block)
    row_weights : ndarray of shape (n_samples,), default=None
        How often each row counts.
    """
    scales: dict[str, float] = {}
    for name in sorted(blocks, key="inputs".__ne__):  # inputs first
        scales[name] = block_scale(blocks[name], row_weights)
        if name == "inputs" and np.isinf(scales[name]):
            return dict.fromkeys(blocks, np.inf)
    return scales


def scale_blocks(
    blocks: dict[str, Block],
    weights: dict[str, float],
    row_weights: np.ndarray | None = None,
) -> ScaledBlocks:
    """Divide each block by one factor, and centre its rows.

    Parameters
    ----------
    blocks : dict of arrays of shape (n_samples, n_columns of the block)
        Of at least one row.
    weights : dict of float
        Weight of each block; a block of weight 0 is not used.
    row_weights : ndarray of shape (n_samples,), default=None
        How often each row counts.
    """
    blocks = {name: _hold(block) for name, block in blocks.items()}
    scales = block_scales(blocks, row_weights)
    used = {}
    for name, block in blocks.items():
        if weights[name] > 0:
            # many rows take no more memory than those they are made of
            dtype = np.float64 if block.shape[0] <= MAX_DUAL else block.dtype
            used[name] = centre(block, scales[name], row_weights, dtype)
    roots = {name: float(np.sqrt(weights[name])) for name in used}
    return ScaledBlocks(
        SideBySide([block.times(roots[name]) for name, block in used.items()]),
        {name: block.origin for name, block in used.items()},
        {name: block.mean for name, block in used.items()},
        roots,
        scales,
    )


def _hold(block: Block) -> Block:
    """A block in memory, unless it is too large: each product computes it anew then."""
    if not is_computed(block):
        return block
    if len(block) <= MAX_DUAL:
        return block.toarray()
    return block.hold() if math.prod(block.shape) <= MOST_HELD else block


def fit_ridge_logistic(
    blocks: dict[str, Block],
    codes: np.ndarray,
    weights: dict[str, float],
    C: float,
    loss_weights: np.ndarray,
    row_weights: np.ndarray,
) -> LinearModel:
    """Minimise ``C * sum of losses + ||w||^2 / 2`` over scaled features.

    A block is divided by one factor, so that its centred rows have a mean squared norm
    equal to its weight; one that does not vary gets coefficients of 0. The solution
    lies in the span of the rows: few of them are solved for in coordinates of that
    span, with the same result.

    Parameters
    ----------
    blocks : dict of arrays of shape (n_samples, n_columns of the block)
    codes : ndarray of shape (n_samples,)
        Classes, from 0 on, each at least once. The loss of two is that of the
        difference w of their coefficients.
    weights : dict of float
        Weight of each block; a block of weight 0 is not used.
    C : float
        Inverse strength.
    loss_weights : ndarray of shape (n_samples,)
    row_weights : ndarray of shape (n_samples,)
        How often each row counts where blocks are scaled.

    Returns
    -------
    LinearModel
        With a score for each class; those of a row sum to 0.
    """
    scaled = scale_blocks(blocks, weights, row_weights)
    n_classes = int(codes.max()) + 1
    C = C if n_classes > 2 else C / 2  # two share the penalty of their difference
    labels = np.eye(n_classes)[codes]
    Z = scaled.Z
    if not Z.shape[0] < min(Z.shape[1], MAX_DUAL + 1):
        return scaled.for_raw_values(*solve_softmax(Z, labels, loss_weights, C))
    values, vectors = np.linalg.eigh(Z.products())
    kept = values > max(1e-12 * values[-1], 0)
    roots, vectors = np.sqrt(values[kept]), vectors[:, kept]
    coef, intercept = solve_softmax(vectors * roots, labels, loss_weights, C)
    return scaled.for_raw_values((coef / roots @ vectors.T) @ Z, intercept)


def solve_softmax(
    features: np.ndarray | SideBySide,
    labels: np.ndarray,
    loss_weights: np.ndarray,
    C: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients and intercepts of classes that minimise the penalised losses.

    Parameters
    ----------
    features : array of shape (n_samples, n_columns)
    labels : ndarray of shape (n_samples, n_classes)
        1 for the class of a row, 0 elsewhere.
    loss_weights : ndarray of shape (n_samples,)
    C : float

    Returns
    -------
    coef : ndarray of shape (n_classes, n_columns)
    intercept : ndarray of shape (n_classes,)
        Its mean is 0.
    """
    n_classes, n_columns = labels.shape[1], features.shape[1]

    def objective(v: np.ndarray) -> tuple[float, np.ndarray]:
        coef, intercept = v[n_classes:].reshape(n_classes, n_columns), v[:n_classes]
        logs = log_softmax(features @ coef.T + intercept, axis=1)
        pull = loss_weights[:, None] * (labels - np.exp(logs))
        loss = -C * (loss_weights @ (labels * logs).sum(axis=1))
        slope = coef - C * (pull.T @ features)
        value = loss + np.square(coef).sum() / 2
        return float(value), np.concatenate([-C * pull.sum(axis=0), slope.ravel()])

    options = OPTIONS | {"gtol": 1e-8 * len(labels) ** 0.5}
    start = np.zeros(n_classes * (n_columns + 1))
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    intercept, coef = np.split(found.x, [n_classes])
    return coef.reshape(n_classes, n_columns), intercept


def fit_classes(
    blocks: dict[str, Block],
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
    blocks : dict of arrays of shape (n_samples, n_columns of the block)
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
    parts = blocks
    if not counts.all():
        parts = {name: block[counts] for name, block in blocks.items()}
    used = [name for name in blocks if weights[name] > 0]
    totals = np.bincount(codes, row_weights, minlength=n_classes)
    coef = {name: np.zeros((n_classes, blocks[name].shape[1])) for name in used}
    intercept = np.log((totals + 0.5) / (totals + 0.5).sum())
    shown = np.flatnonzero(totals)
    if len(shown) > 1:
        places = np.searchsorted(shown, codes)
        model = fit_ridge_logistic(
            parts, places, weights, C, sample_weight[counts], row_weights
        )
        for name in used:
            coef[name][shown] = model.coef[name]
        common = np.mean(intercept[shown]) if len(shown) < n_classes else 0
        intercept[shown] = model.intercept + common
    return LinearModel(coef, intercept)
