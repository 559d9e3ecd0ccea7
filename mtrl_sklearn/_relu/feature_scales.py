"""Whether few features outweigh the others: the network sees all at one scale.

Inputs are divided by one number, so a feature of a thousand times the spread of another
counts a million times as much. That is right for bits, counts, TF-IDF and pixels, where
scaling each one by itself would raise noise, and wrong for columns of different units.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse

# Spread of the widest feature over that of the narrower ones (their first decile) that
# is told. Of 20 kinds of data, 16 have at most 6, and columns of different units, which
# lose by it, have 59 and more.
MOST = 30.0

# Features that are 0 in more rows than this share are those of counts and bits.
MOST_ZEROS = 0.5

# What is looked at, of some rows.
MAX_ROWS = 10_000
MAX_ENTRIES = 500_000


class Outsized(NamedTuple):
    """Features that outweigh the others."""

    columns: np.ndarray  # positions, widest first
    ratio: float  # spread of the widest over the first decile of all


def find_outsized(X: Any) -> Outsized | None:
    """Find features that are so much wider than others that these hardly count.

    Parameters
    ----------
    X : ndarray or CSR array of shape (n_samples, n_features)
        Sparse inputs, and features that are mostly 0, are taken for counts.

    Returns
    -------
    Outsized or None
        None if there are none. Features are wide that have more than the geometric mean
        of the largest standard deviation and the first decile.
    """
    n_rows, n_features = X.shape
    if issparse(X) or n_features < 2:
        return None
    most = int(np.clip(MAX_ENTRIES // n_features, 2, MAX_ROWS))
    some = np.asarray(X[:: -(-n_rows // most)], dtype=np.float64)
    bound = np.abs(some).max(axis=0)
    spread = bound * (some / np.where(bound > 0, bound, 1)).std(axis=0)
    counted = (spread > 1e-12 * bound) & ((some == 0).mean(axis=0) <= MOST_ZEROS)
    if counted.sum() < 2:
        return None
    columns = np.flatnonzero(counted)
    narrow = np.quantile(spread[columns], 0.1)
    widest = spread[columns].max()
    if widest / MOST <= narrow:
        return None
    wide = columns[spread[columns] > np.sqrt(widest) * np.sqrt(narrow)]
    with np.errstate(over="ignore"):
        ratio = widest / narrow
    return Outsized(wide[np.argsort(-spread[wide], kind="stable")], float(ratio))
