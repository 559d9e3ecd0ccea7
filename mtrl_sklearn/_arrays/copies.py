"""Which rows of a matrix are the same, whatever order they come in."""

import math
from typing import Any

import numpy as np
from scipy.sparse import csr_array, issparse

from mtrl_sklearn._arrays.conversion import as_numpy, is_sparse_frame
from mtrl_sklearn._arrays.rows import block_slices
from mtrl_sklearn._group import BatchPart, Group

# Shifts and odd factors.
MIXING = (
    (np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)),
    (np.uint64(27), np.uint64(0x94D049BB133111EB)),
)


def hash_rows(X: Any) -> np.ndarray:
    """A number for each row, of shape (n_samples,), uint64: equal rows have the same.

    It is the sum over features of the bits of the entry, as float64, times an odd
    number, modulo 2**64. A row is worth the same dense or CSR, of any dtype. That two
    of 10,000 rows that differ have the same is less likely than one in 10,000.

    Parameters
    ----------
    X : ndarray or CSR array of shape (n_samples, n_features)
    """
    n_rows, n_features = X.shape
    factors = np.random.default_rng(0).integers(2**63, size=n_features, dtype=np.uint64)
    factors = 2 * factors + 1
    if issparse(X):
        products = _mix_bits(X.data) * factors[X.indices]
        totals = np.concatenate([[np.uint64(0)], products.cumsum(dtype=np.uint64)])
        return totals[X.indptr[1:]] - totals[X.indptr[:-1]]
    hashes = np.empty(n_rows, dtype=np.uint64)
    for rows in block_slices(n_rows, n_features):
        hashes[rows] = _mix_bits(X[rows]) @ factors
    return hashes


def project_rows(X: Any, seed: int, group: Group) -> np.ndarray:
    """A random combination of features of each row, of shape (n_samples,), float64.

    Rows that are equal have the same. Their order hardly depends on how the entries of
    X were rounded, as that of `hash_rows` does.

    Parameters
    ----------
    X : ndarray or CSR array of shape (n_samples, n_features)
    seed : int
    group : Group
        Whose other ranks have more rows.
    """
    n_rows, n_features = X.shape
    direction = np.random.default_rng(seed).standard_normal(n_features)
    origin, largest = _find_origin(X, group)
    # so that products neither overflow nor vanish; a power of 2 rounds nothing
    direction = np.ldexp(direction, -int(np.clip(np.frexp(largest)[1], -1000, 1000)))
    if issparse(X):
        moved = X.data - origin[X.indices]
        moved = csr_array((moved, X.indices, X.indptr), shape=X.shape)
        return np.asarray(moved @ direction)
    projected = np.empty(n_rows)
    has_origin = origin.any()
    for rows in block_slices(n_rows, n_features):
        moved = X[rows] - origin if has_origin else X[rows]
        # summed row by row: a product of matrices depends on where a row stands
        projected[rows] = (moved * direction).sum(axis=1)
    return projected


def _find_origin(X: Any, group: Group) -> tuple[np.ndarray, float]:
    """What is nearest to 0 of features without any, which may be huge; else 0.

    And the largest absolute value of all features.
    """
    low, high = np.full((2, X.shape[1]), [[np.inf], [-np.inf]])
    if X.shape[0]:
        low, high = X.min(axis=0), X.max(axis=0)
        if issparse(X):
            low, high = low.toarray().ravel(), high.toarray().ravel()
    low = np.min(group.gather(low.astype(np.float64)), axis=0)
    high = np.max(group.gather(high.astype(np.float64)), axis=0)
    largest = max(float(high.max(initial=0)), -float(low.min(initial=0)))
    return np.where(low > 0, low, np.where(high < 0, high, 0)), largest


def _mix_bits(values: np.ndarray) -> np.ndarray:
    """Bits of numbers, each of which depends on all; 0 of 0 and -0.

    The finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014).
    """
    bits = (values.astype(np.float64) + 0.0).view(np.uint64)
    for shift, factor in MIXING:
        bits = (bits ^ (bits >> shift)) * factor
    return bits ^ (bits >> np.uint64(31))


def number_inputs(X: Any) -> np.ndarray:
    """Which input each row is, of shape (n_samples,), by the order they first come in.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (n_samples, ...)
        Numbers of any number of axes, or rows of a table, or texts, which are the same
        if they read the same. Rows of which numpy makes no array are inputs each.
    """
    return number_values(_find_keys(X))


def number_values(values: np.ndarray) -> np.ndarray:
    """Which value each is, of shape (n_values,), by the order they first come in."""
    _, first, places = np.unique(values, return_index=True, return_inverse=True)
    order = np.empty(len(first), dtype=np.intp)
    order[np.argsort(first)] = np.arange(len(first))
    return order[places]


def _find_keys(X: Any) -> np.ndarray:
    """A number for each row, the same for equal rows."""
    if is_sparse_frame(X) and not any(dtype.fill_value for dtype in X.dtypes):
        X = X.sparse.to_coo()
    X = as_numpy(X, "X")
    if issparse(X):
        rows = csr_array(X, copy=True)
        rows.sum_duplicates()
        return hash_rows(rows)
    try:
        rows = np.asarray(X)
    except ValueError:  # of several lengths
        return np.arange(len(X))
    rows = rows.reshape(len(rows), math.prod(rows.shape[1:]))
    if rows.dtype.kind in "biuf":
        return hash_rows(rows)
    texts = (tuple(map(str, row)) for row in rows)
    places: dict[tuple[str, ...], int] = {}
    return np.array([places.setdefault(row, len(places)) for row in texts], dtype=int)


def number_copies(keys: np.ndarray, group: Group) -> BatchPart:
    """Rows by the order of their keys, in which all with the same key are one.

    Parameters
    ----------
    keys : ndarray of shape (n_samples,)
        Of the rows that are here.
    group : Group

    Returns
    -------
    BatchPart
        The number of distinct keys on all ranks, and which of them each row has.
    """
    here, places = np.unique(keys, return_inverse=True)
    known = np.unique(np.concatenate(group.gather(here)))
    return BatchPart(len(known), np.searchsorted(known, here)[places])
