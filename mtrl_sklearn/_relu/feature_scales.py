"""Whether few features, or few values of them, outweigh all others.

Inputs are divided by one number, so a feature of a thousand times the spread of another
counts a million times as much. That is right for bits, counts, TF-IDF and pixels, where
scaling each one by itself would raise noise, and wrong for columns of different units.
Nor is it right for values that differ by factors, such as concentrations and incomes.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse
from scipy.stats import skew

# Spread of the widest feature over that of the narrower ones (their first decile) that
# is told. Of 23 kinds of data, 19 have at most 5, and columns of different units, which
# lose by it, have 27 and more. Six of 12 columns of 10 times the spread cost .05 of
# ROC-AUC, one of them .01.
MOST = 10.0

# Features that are 0 in more rows than this share are those of counts and bits.
MOST_ZEROS = 0.5

# Spread of a bit, however rare it is, in a table of bits and few other features. Those
# of counts have more features that are mostly 0, and no bits, than others.
OF_BIT = 0.5

# Features are skewed that are positive and have this skewness, if their logarithms have
# less than half of it; they are told if they are so large a share of all. Of 20 kinds
# of data breast cancer has a fifth of such features, lognormal ones are all so, and
# others have none. With logarithms the lognormal kind has ROC-AUC .91 instead of .83.
LEAST_SKEWNESS = 2.0
LEAST_SHARE = 0.5

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
        Sparse inputs, and features that are mostly 0, are taken for counts, and bits
        count where they are at least half of the features of a table.

    Returns
    -------
    Outsized or None
        None if there are none. Features are wide that have more than the geometric mean
        of the largest standard deviation and the first decile.
    """
    if issparse(X) or X.shape[1] < 2:
        return None
    some = _some_rows(X)
    spread, columns = _take_dense(some)
    bits = _take_bits(some, columns)
    spread[bits] = OF_BIT
    columns = np.union1d(columns, bits)
    if len(columns) < 2:
        return None
    narrow = np.quantile(spread[columns], 0.1, method="lower")
    widest = spread[columns].max()
    if widest / MOST <= narrow:
        return None
    wide = columns[spread[columns] > np.sqrt(widest) * np.sqrt(narrow)]
    with np.errstate(over="ignore"):
        ratio = widest / narrow
    return Outsized(wide[np.argsort(-spread[wide], kind="stable")], float(ratio))


def find_skewed(X: Any) -> np.ndarray | None:
    """Find features whose logarithms would say more than they do themselves.

    Parameters
    ----------
    X : ndarray or CSR array of shape (n_samples, n_features)
        Sparse inputs, and features that are mostly 0 or hold integers, are taken for
        counts.

    Returns
    -------
    ndarray of shape (n_skewed,) or None
        Positions, most skewed first; None if these are few of the features.
    """
    if issparse(X):
        return None
    some = _some_rows(X)
    columns = _take_dense(some)[1]
    values = some[:, columns]
    values = values / np.abs(values).max(axis=0)
    suited = (values > 0).all(axis=0) & (some[:, columns] % 1 != 0).any(axis=0)
    of_values, of_logs = np.zeros((2, len(columns)))
    of_values[suited] = skew(values[:, suited], axis=0)
    of_logs[suited] = skew(np.log(values[:, suited]), axis=0)
    told = (of_values > LEAST_SKEWNESS) & (np.abs(of_logs) < of_values / 2)
    if told.sum() < max(LEAST_SHARE * len(columns), 1):
        return None
    return columns[told][np.argsort(-of_values[told], kind="stable")]


def _some_rows(X: np.ndarray) -> np.ndarray:
    """Of all of them, in steps, as float64."""
    n_rows, n_features = X.shape
    most = int(np.clip(MAX_ENTRIES // max(n_features, 1), 2, MAX_ROWS))
    return np.asarray(X[:: -(-n_rows // most)], dtype=np.float64)


def _take_dense(some: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviations, and positions of features that vary and are not mostly 0."""
    bound = np.abs(some).max(axis=0)
    spread = bound * (some / np.where(bound > 0, bound, 1)).std(axis=0)
    counted = (spread > 1e-12 * bound) & ((some == 0).mean(axis=0) <= MOST_ZEROS)
    return spread, np.flatnonzero(counted)


def _take_bits(some: np.ndarray, dense: np.ndarray) -> np.ndarray:
    """Positions of features of 0 and 1, if they are most of a table, not of counts."""
    varies = some.min(axis=0) < some.max(axis=0)
    is_bit = varies & ((some == 0) | (some == 1)).all(axis=0)
    n_dense = np.count_nonzero(~is_bit[dense])
    n_counts = np.count_nonzero(varies & ~is_bit) - n_dense
    is_table = is_bit.mean() >= 0.5 and n_counts < n_dense
    return np.flatnonzero(is_bit & is_table)
