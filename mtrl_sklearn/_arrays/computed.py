"""Blocks of features that are never whole: their rows are computed when asked for."""

from collections.abc import Callable, Iterator
from typing import Any, TypeGuard

import numpy as np
from scipy.sparse import issparse

from mtrl_sklearn._arrays.rows import rows_at_once


class Computed:
    """A block of features of which a few rows are in memory at a time.

    Rows are taken as of an array, and come as another such block. It is a factor of
    products with arrays, each of which computes all rows once.

    Parameters
    ----------
    compute : callable
        Function of positions to an ndarray of shape (n_positions, n_columns).
    rows : ndarray of shape (n_samples,), int
        Positions of the rows of this block.
    n_columns : int
    dtype : numpy dtype
    """

    __array_ufunc__ = None  # numpy leaves products to this class

    def __init__(
        self,
        compute: Callable[[np.ndarray], np.ndarray],
        rows: np.ndarray,
        n_columns: int,
        dtype: np.dtype,
    ):
        self.compute, self.rows, self.dtype = compute, rows, np.dtype(dtype)
        self.shape = (len(rows), n_columns)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Any) -> "Computed":
        return Computed(self.compute, self.rows[rows], self.shape[1], self.dtype)

    def toarray(self) -> np.ndarray:
        """All rows, of shape (n_samples, n_columns)."""
        return self.compute(self.rows)

    def hold(self) -> "Computed":
        """The same block, of which all rows are in memory as they are computed."""
        whole = np.empty(self.shape, self.dtype)
        for part, features in self.parts():
            whole[part] = features
        every = np.arange(len(self))
        return Computed(whole.__getitem__, every, self.shape[1], self.dtype)

    def map(
        self, function: Callable[[np.ndarray], np.ndarray], dtype: Any
    ) -> "Computed":
        """The block of what a function makes of rows, of as many columns.

        Parameters
        ----------
        function : callable
        dtype : numpy dtype
        """
        made, n_columns = self.compute, self.shape[1]
        return Computed(lambda rows: function(made(rows)), self.rows, n_columns, dtype)

    def parts(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Rows in turn: where they are, and their features."""
        size = rows_at_once(self.shape[1])
        for start in range(0, len(self), size):
            part = slice(start, min(start + size, len(self)))
            yield part, self.compute(self.rows[part])

    def mean(self, axis: int, dtype: Any) -> np.ndarray:
        """Mean of each row, of shape (n_samples,); ``axis`` is 1."""
        found = np.empty(len(self), dtype)
        for part, features in self.parts():
            found[part] = features.mean(axis=axis, dtype=dtype)
        return found

    def __matmul__(self, right: np.ndarray) -> np.ndarray:
        """Product with an array of shape (n_columns,) or (n_columns, m)."""
        dtype = np.result_type(self.dtype, right.dtype)
        found = np.empty((len(self), *right.shape[1:]), dtype)
        for part, features in self.parts():
            found[part] = features @ right
        return found

    def __rmatmul__(self, left: np.ndarray) -> np.ndarray:
        """Product of an array of shape (n_samples,) or (m, n_samples) with this."""
        dtype = np.result_type(self.dtype, left.dtype)
        found = np.zeros((*left.shape[:-1], self.shape[1]), dtype)
        for part, features in self.parts():
            found += left[..., part] @ features
        return found


def is_computed(block: Any) -> TypeGuard[Computed]:
    """Whether rows of a block are computed when they are asked for."""
    return not (isinstance(block, np.ndarray) or issparse(block))
