"""Settings of a probe, tried on few-shot problems, and the choice of some."""

from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from mtrl_sklearn._arrays.centred import SideBySide, centre
from mtrl_sklearn._arrays.threads import one_thread
from mtrl_sklearn._labels.roc_auc import table_roc_auc
from mtrl_sklearn._training.prior import ProbePrior
from mtrl_sklearn.probing._blocks import BLOCKS, Blocks
from mtrl_sklearn.probing._draws import Draw
from mtrl_sklearn.probing._map_logistic import WIDE, shared_signal
from mtrl_sklearn.probing._ridge_logistic import block_scales
from mtrl_sklearn.probing._settings import ProbeSettings

WEIGHT_STEPS = 4  # weights are multiples of a quarter
STRENGTHS = np.array([0.1, 0.4, 1.6, 6.4])
# Settings are averaged, with weights that fall by e for each such loss of ROC-AUC: the
# best one on few noisy problems is a worse choice than the mean of the good ones.
TEMPERATURE = 0.01
# Newton's method starts at probabilities of at least this: one step from smaller ones
# would go too far.
LEAST_PROBABILITY = 0.05


def grid(n_blocks: int) -> tuple[np.ndarray, np.ndarray]:
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


def score_settings(
    blocks: Blocks, signs: np.ndarray, draw: Draw, prior: ProbePrior | None = None
) -> dict[int, np.ndarray]:
    """ROC-AUC of all settings on one problem, by number of labels.

    With products K between the rows of a block, divided by its mean squared norm, the
    scores of setting (u, C) are ``sum_b u_b K_b a + c``, where
    ``(sum_b u_b K_b + 4 / C) a + c = y`` and the entries of a sum to 0. A prior adds
    its kernel, and replaces 4 and y by what Newton's method says at its scores.
    """
    largest = draw.few[max(draw.few)]
    with one_thread():
        among, between = [], []
        is_few = np.repeat([1.0, 0.0], [len(largest), len(draw.test)])
        scales = block_scales(blocks.take(largest).present)
        for name, block in blocks.present.items():
            rows = block[np.concatenate([largest, draw.test])]
            centred = centre(rows, scales[name], is_few)
            products = SideBySide([centred]).products(len(largest))
            among.append(products[: len(largest)])
            between.append(products[len(largest) :])
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
        Products of training rows; systems are solved in their precision.
    between : ndarray of shape (n_blocks, n_test, n_labels)
        Products of test rows with training rows.
    y : ndarray of shape (n_labels,)
    positive : ndarray of shape (n_test,), bool
    shared : _Shared
    """
    weights, strengths = grid(len(among))
    spread = np.trace(among, axis1=1, axis2=2) / len(y) - among.mean(axis=(1, 2))
    dtype = among.dtype
    weights = (weights / np.where(spread > 0, spread, 1)).astype(dtype)
    strengths = strengths.astype(dtype)
    systems = np.tensordot(weights, among, axes=1)
    target, curvature, slope, spread, centre, precision = shared.start(y)
    systems *= strengths[:, None, None]
    systems += spread**2 * np.multiply.outer(shared.few, shared.few)
    systems[:, range(len(y)), range(len(y))] += 1 / curvature
    right = np.stack([target, np.ones_like(y)], axis=1).astype(dtype)
    right = np.broadcast_to(right, (len(systems), len(y), 2))
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


def average_settings(
    scores: dict[int, list[np.ndarray]], names: list[str]
) -> ProbeSettings:
    """The mean of good settings, for each number of labels."""
    scores = {k: of_problems for k, of_problems in scores.items() if of_problems}
    weights, strengths = grid(len(names))
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
