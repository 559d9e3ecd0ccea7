"""What source tasks say of a new one before it has labels: the prior of a probe."""

from dataclasses import dataclass, fields
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit

from mtrl_sklearn._training.saving import saveable_settings

# Labels that are looked at, and tasks that they come from.
MAX_LABELS = 100_000
MAX_TASKS = 256

# Steps of expectation and maximisation, and Newton steps within each.
N_STEPS = 20
N_NEWTON = 2

# Spreads stay above these: no number of tasks tells that all are alike.
LEAST_INTERCEPT_SPREAD = 0.5
LEAST_SLOPE_SPREAD = 0.1

# A new task differs from source tasks by so many times what these differ by: it may be
# of another kind. On assays this took .02 off the relative log loss at 16 labels.
WIDER = 2.0

# Spread of the slope of a probe: what tasks differ by beyond that is left to the other
# coefficients, which s follows from. A larger one cost .04 on digits at 16 labels.
MOST_SLOPE_SPREAD = 0.2


@saveable_settings
@dataclass(frozen=True)
class ProbePrior:
    r"""Prior of a `LinearProbe`: what tasks of this kind have in common.

    Before it has labels, a new task has the log-odds ``b + beta * s``, where s is the
    mean of the source-task probabilities, less ``centre`` and divided by ``scale``, and

    .. math:: b \sim t_4(b_0, \sigma_b), \qquad \beta \sim N(\beta_0, \sigma_\beta^2)

    over tasks. Student's t has four degrees of freedom: positives may be far more
    frequent than in all source tasks. `MultiTaskReLURepresentation.fit` and `calibrate`
    learn it.

    Attributes
    ----------
    intercept, intercept_spread : float
        b_0 and sigma_b.
    slope, slope_spread : float
        beta_0 and sigma_beta.
    centre, scale : float
        Of the mean of the source-task probabilities, over the rows of `fit`.

    Examples
    --------
    >>> from mtrl_sklearn.probing import ProbePrior
    >>> prior = ProbePrior(-2.0, 0.8, 0.7, 0.2, centre=0.1, scale=0.05)
    >>> prior.slope
    0.7
    """

    intercept: float
    intercept_spread: float
    slope: float
    slope_spread: float
    centre: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            is_number = isinstance(value, Real) and np.isfinite(float(value))
            is_size = field.name == "scale" or field.name.endswith("_spread")
            if not is_number or (is_size and not value > 0):
                what = "a positive number" if is_size else "a finite number"
                raise ValueError(f"{field.name}={value!r} should be {what}.")


class Effects(NamedTuple):
    """Centre and spread over tasks of intercept and slope."""

    intercept: float
    intercept_spread: float
    slope: float
    slope_spread: float


def find_effects(
    shared: np.ndarray, positive: np.ndarray, tasks: np.ndarray
) -> Effects | None:
    """Intercepts and slopes of tasks as draws of normal distributions.

    Each task has the log-odds ``b + beta * s``; centre and spread of b and beta over
    tasks are found by expectation and maximisation, with the posterior of each task
    taken as normal at its mode.

    Parameters
    ----------
    shared : ndarray of shape (n_labels,)
        s of each label, standardised; not made of the labels of its task.
    positive : ndarray of shape (n_labels,), bool
    tasks : ndarray of shape (n_labels,), int
        The task of each label, from 0 on.

    Returns
    -------
    Effects or None
        None if fewer than two tasks show both classes.
    """
    n_positive, n_labels = np.bincount(tasks, positive), np.bincount(tasks)
    shows_both = (n_positive > 0) & (n_positive < n_labels)
    if shows_both.sum() < 2:
        return None
    kept = shows_both[tasks]
    shared, y = shared[kept], positive[kept].astype(np.float64)
    tasks = (np.cumsum(shows_both) - 1)[tasks[kept]]
    n_positive, n_labels = n_positive[shows_both], n_labels[shows_both]

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(tasks, values, minlength=len(n_labels))

    b = np.log((n_positive + 0.5) / (n_labels - n_positive + 0.5))
    beta = np.zeros_like(b)
    centres, variances = np.array([b.mean(), 0.0]), np.ones(2)
    least = np.square([LEAST_INTERCEPT_SPREAD, LEAST_SLOPE_SPREAD])
    for _ in range(N_STEPS):
        for _ in range(N_NEWTON):
            p = expit(b[tasks] + beta[tasks] * shared)
            curvature = p * (1 - p)
            g0 = total(y - p) - (b - centres[0]) / variances[0]
            g1 = total((y - p) * shared) - (beta - centres[1]) / variances[1]
            h00 = total(curvature) + 1 / variances[0]
            h01 = total(curvature * shared)
            h11 = total(curvature * shared**2) + 1 / variances[1]
            determinant = h00 * h11 - h01 * h01
            b = b + np.clip((h11 * g0 - h01 * g1) / determinant, -2, 2)
            beta = beta + np.clip((h00 * g1 - h01 * g0) / determinant, -2, 2)
        centres = np.array([b.mean(), beta.mean()])
        of_b = np.mean((b - centres[0]) ** 2 + h11 / determinant)
        of_beta = np.mean((beta - centres[1]) ** 2 + h00 / determinant)
        variances = np.maximum([of_b, of_beta], least)
    spreads = np.sqrt(variances)
    return Effects(*map(float, (centres[0], spreads[0], centres[1], spreads[1])))


def make_prior(effects: Effects, centre: float, scale: float) -> ProbePrior:
    """The prior of a probe, for a mean of probabilities with this centre and scale.

    Where slopes differ more between tasks than they agree, their mean says little of
    the next one: it counts by the share of their mean square that it has.
    """
    b, b_spread, slope, spread = effects
    agreed = slope**2 / (slope**2 + spread**2)
    spread = min(spread, MOST_SLOPE_SPREAD)
    return ProbePrior(b, WIDER * b_spread, agreed * slope, spread, centre, scale)


def read_prior(representation: Any) -> ProbePrior | None:
    """The prior that a representation has learned, if it has."""
    found = getattr(representation, "probe_prior_", None)
    return None if found is None else ProbePrior(**found)
