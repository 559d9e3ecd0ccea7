"""What the generators of data share: seeds, hidden labels, random directions."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval

Seed = int | np.random.RandomState | None

_count = [Interval(Integral, 1, None, closed="left")]
_constraints = {
    "n_samples": _count,
    "n_samples_per_task": _count,
    "n_features": _count,
    "n_tasks": _count,
    "missing_fraction": [Interval(Real, 0, 1, closed="left")],
    "random_state": ["random_state"],
}


def _generator(random_state: Seed, purpose: str) -> np.random.Generator:
    """Random numbers for one purpose.

    The same seed gives unrelated numbers for different purposes. Otherwise rows
    sampled with the seed of the problem would repeat the numbers that built it.
    """
    entropy = check_random_state(random_state).randint(2**32, size=4, dtype=np.uint32)
    return np.random.default_rng([*purpose.encode(), *entropy])


def _hide(Y: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Set entries of ``Y`` to NaN, in place, each with probability ``fraction``."""
    if fraction > 0:
        Y[rng.random(Y.shape) < fraction] = np.nan
    return Y


def _orthonormal_rows(
    n_rows: int,
    n_features: int,
    rng: np.random.Generator,
    *,
    off: np.ndarray | None = None,
) -> np.ndarray:
    """Orthonormal rows of shape (n_rows, n_features), uniformly distributed.

    They are orthogonal to the rows of ``off`` (n_off, n_features), orthonormal too.
    """
    draws = rng.standard_normal((n_features, n_rows))
    n_off = 0 if off is None else len(off)
    columns = draws if off is None else np.hstack([off.T, draws])
    Q, R = np.linalg.qr(columns)
    signed = Q * np.sign(np.diag(R))  # without the signs, not uniform
    return signed[:, n_off:].T.copy()
