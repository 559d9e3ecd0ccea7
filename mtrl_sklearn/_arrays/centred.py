"""Blocks of features that are centred: arrays, or others, centred in products."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from scipy.sparse import csr_array, issparse

from mtrl_sklearn._arrays.computed import Computed, is_computed
from mtrl_sklearn._arrays.rows import block_slices

# Or `Computed`: csr_array has no types, so that a union with it takes anything.
Block: TypeAlias = np.ndarray | csr_array

# Entries that become float64 at a time: they stay in the cache until they are used.
AT_ONCE = 2**16


class Centred(NamedTuple):
    """A block whose rows are ``factor * ((raw - origin) / scale - mean)``."""

    matrix: Block  # (n_samples, n_columns), without factor, and mean if no array
    origin: np.ndarray  # (n_columns,)
    mean: np.ndarray  # (n_columns,)
    factor: float = 1.0

    def times(self, factor: float) -> "Centred":
        """The block multiplied by a number."""
        return self._replace(factor=factor * self.factor)


def centre(
    block: Block,
    scale: float,
    row_weights: np.ndarray | None = None,
    dtype: Any = np.float64,
) -> Centred:
    """Divide a block by a factor, and centre its rows.

    Parameters
    ----------
    block : ndarray, CSR array or Computed of shape (n_samples, n_columns)
        Of at least one row.
    scale : float
    row_weights : ndarray of shape (n_samples,), default=None
        How often each row counts in the mean. None is once.
    dtype : dtype, default=float64
        Of centred rows of an ndarray.
    """
    weights = np.ones(block.shape[0]) if row_weights is None else row_weights
    if is_computed(block):
        moved, origin = move_to_first(block, scale)
        return Centred(moved, origin, (weights @ moved) / weights.sum())
    if issparse(block):
        moved, origin = move_full_columns(block)
        moved = moved / scale
        return Centred(moved, origin, column_means(moved, weights))
    origin = block[0].astype(np.float64)
    centred = np.empty(block.shape, dtype)
    parts = list(block_slices(*block.shape))

    def move(rows: slice) -> np.ndarray:
        moved = block[rows] - origin
        moved /= scale
        return moved

    total = sum((weights[rows, None] * move(rows)).sum(axis=0) for rows in parts)
    mean = np.asarray(total) / weights.sum()
    for rows in parts:
        np.subtract(move(rows), mean, out=centred[rows], casting="same_kind")
    return Centred(centred, origin, mean)


def move_to_first(block: Computed, scale: float) -> tuple[Computed, np.ndarray]:
    """Rows less the first one, divided by a number, and that row, float64."""
    origin = block[:1].toarray()[0].astype(np.float64)

    def move(part: np.ndarray) -> np.ndarray:
        moved = part.astype(np.float64)
        moved -= origin
        moved /= scale
        return moved

    return block.map(move, np.float64), origin


def move_full_columns(block: csr_array) -> tuple[csr_array, np.ndarray]:
    """A sparse block whose columns without an implied 0 start at 0.

    Products of such columns could be large beside what varies in them.

    Returns
    -------
    moved : csr_array of shape (n_samples, n_columns), float64
    origin : ndarray of shape (n_columns,), float64
        What was subtracted from each column.
    """
    n_rows, n_columns = block.shape
    is_full = np.bincount(block.indices, minlength=n_columns) == n_rows
    origin = np.where(is_full, block[[0]].toarray()[0], 0).astype(np.float64)
    data = block.data.astype(np.float64)
    if is_full.any():
        data = data - origin[block.indices]
    return csr_array((data, block.indices, block.indptr), shape=block.shape), origin


def column_means(block: csr_array, row_weights: np.ndarray | None = None) -> np.ndarray:
    """Weighted means of the columns of a sparse block, of shape (n_columns,)."""
    if row_weights is None:
        row_weights = np.ones(block.shape[0])
    return (row_weights @ block) / row_weights.sum()


class SideBySide:
    """Centred blocks beside each other, as one factor of products.

    Sparse blocks stay sparse, and computed ones are never whole: their means are
    subtracted from products. Arrays are multiplied in float64, some rows after others.

    Parameters
    ----------
    blocks : sequence of Centred, of the same rows
    """

    __array_ufunc__ = None  # numpy leaves products to this class

    def __init__(self, blocks: Sequence[Centred]):
        self.blocks = list(blocks)
        self.shape = (
            self.blocks[0].matrix.shape[0],
            sum(block.matrix.shape[1] for block in self.blocks),
        )

    def __matmul__(self, right: np.ndarray) -> np.ndarray:
        """Product with an array of shape (n_columns,) or (n_columns, m)."""
        product = np.zeros((self.shape[0], *right.shape[1:]))
        start = 0
        for matrix, _, mean, factor in self.blocks:
            part = factor * right[start : start + matrix.shape[1]]
            start += matrix.shape[1]
            if not isinstance(matrix, np.ndarray):
                product += matrix @ part - mean @ part
                continue
            for rows in _parts(matrix):
                product[rows] += matrix[rows].astype(np.float64, copy=False) @ part
        return product

    def __rmatmul__(self, left: np.ndarray) -> np.ndarray:
        """Product of an array of shape (n_samples,) or (m, n_samples) with this."""
        parts = []
        for matrix, _, mean, factor in self.blocks:
            if not isinstance(matrix, np.ndarray):
                part = left @ matrix
                part -= np.multiply.outer(left.sum(axis=-1), mean)
            else:
                part = np.zeros((*left.shape[:-1], matrix.shape[1]))
                for rows in _parts(matrix):
                    some = matrix[rows].astype(np.float64, copy=False)
                    part += left[..., rows] @ some
            parts.append(factor * part)
        return np.concatenate(parts, axis=-1)

    def products(self) -> np.ndarray:
        """Products of all rows with each other, (n_samples, n_samples).

        No block is `Computed` where they are asked for.
        """
        total = np.zeros((self.shape[0], self.shape[0]))
        for matrix, _, mean, factor in self.blocks:
            products: Any = matrix @ matrix.T
            if issparse(products):
                along = matrix @ mean
                total -= factor**2 * (along[:, None] + along - mean @ mean)
                products = products.toarray()
            products *= factor**2
            total += products
        return total


def _parts(matrix: np.ndarray) -> Iterator[slice]:
    """Rows to multiply at a time: all of float64."""
    n_rows, n_columns = matrix.shape
    size = n_rows if matrix.dtype == np.float64 else AT_ONCE // max(n_columns, 1)
    return (slice(k, k + max(size, 1)) for k in range(0, n_rows, max(size, 1)))
