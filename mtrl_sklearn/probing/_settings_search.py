"""Settings of a probe, tried on few-shot problems, and the choice of some."""

from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import sposv
from scipy.special import expit

from mtrl_sklearn._arrays.threads import one_thread
from mtrl_sklearn._labels.roc_auc import compare_roc_auc
from mtrl_sklearn._training.prior import ProbePrior
from mtrl_sklearn.probing._blocks import BLOCKS
from mtrl_sklearn.probing._draws import Draw
from mtrl_sklearn.probing._map_logistic import WIDE
from mtrl_sklearn.probing._products import Kernels, MovedBlock, multiply_rows
from mtrl_sklearn.probing._settings import ProbeSettings

WEIGHT_STEPS = 4  # weights are multiples of a quarter
# The largest is about that of logistic regression on fingerprints with C=1.
STRENGTHS = np.array([0.2, 1.0, 5.0, 25.0])
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


def score_problems(
    blocks: dict[str, MovedBlock],
    problems: list[tuple[np.ndarray, Draw]],
    prior: ProbePrior | None,
    signal: np.ndarray | None,
) -> list[dict[int, np.ndarray]]:
    """`score_settings` of some problems, signs and draws, by one thread."""
    with one_thread():
        return [score_settings(blocks, *p, prior, signal) for p in problems]


def score_settings(
    blocks: dict[str, MovedBlock],
    signs: np.ndarray,
    draw: Draw,
    prior: ProbePrior | None = None,
    signal: np.ndarray | None = None,
) -> dict[int, np.ndarray]:
    """ROC-AUC of all settings on one problem, by number of labels.

    With products K between the rows of a block, divided by its mean squared norm, the
    scores of setting (u, C) are ``sum_b u_b K_b a + c``, where
    ``(sum_b u_b K_b + 4 / C) a + c = y`` and the entries of a sum to 0. A prior adds
    its kernel, and replaces 4 and y by what Newton's method says at its scores.

    Parameters
    ----------
    blocks : dict of MovedBlock
    signs : ndarray of shape (n_samples,)
    draw : Draw
    prior : ProbePrior or None
    signal : ndarray of shape (n_samples,) or None
        What the prior acts on, see `shared_signal`.
    """
    signal = np.zeros(len(signs)) if signal is None else signal
    products = multiply_rows(blocks, draw.few[max(draw.few)], draw.test)
    return {
        k: _rank_settings(
            products.centre(rows),
            signs[rows].astype(np.float64),
            signs[draw.test] > 0,
            _Shared(prior, signal[rows], signal[draw.test]),
        )
        for k, rows in draw.few.items()
    }


def _rank_settings(
    kernels: Kernels, y: np.ndarray, positive: np.ndarray, shared: _Shared
) -> np.ndarray:
    """ROC-AUC of all settings with one number of labels, of shape (n_settings,).

    Parameters
    ----------
    kernels : Kernels
        Of the rows with labels, and of test rows with them.
    y : ndarray of shape (n_labels,)
    positive : ndarray of shape (n_test,), bool
    shared : _Shared
    """
    weights, strengths = grid(len(kernels.among))
    weights, strengths = weights.astype(np.float32), strengths.astype(np.float32)
    target, curvature, slope, spread, centre, precision = shared.start(y)
    systems = np.tensordot(weights, kernels.among.astype(np.float32), axes=1)
    systems *= strengths[:, None, None]
    outer = np.multiply.outer(shared.few, shared.few)
    systems += (spread**2 * outer).astype(np.float32)
    systems[:, range(len(y)), range(len(y))] += (1 / curvature).astype(np.float32)
    right = np.stack([target, np.ones_like(y)], axis=1).astype(np.float32, order="F")
    solved = np.array([sposv(system.T, right)[1] for system in systems])
    total, per_unit = solved.sum(axis=1).T
    intercepts = (total + precision * centre) / (per_unit + precision)
    dual = solved[:, :, 0] - intercepts[:, None] * solved[:, :, 1]
    slopes = slope + spread**2 * dual @ shared.few
    scores = kernels.score(weights, strengths[:, None] * dual)
    return compare_roc_auc(positive, scores + np.multiply.outer(slopes, shared.test))


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
