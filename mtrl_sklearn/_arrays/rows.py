"""Rows of a matrix, read a batch at a time from wherever it lies."""

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import torch
from scipy.sparse import csr_array, issparse
from torch import Tensor
from torch.utils.data import Dataset

from mtrl_sklearn._arrays.products import as_dtype, csr_tensor, is_sparse, row_indices
from mtrl_sklearn._group import BatchPart, Shard

# Entries of a dense block, where all rows are visited in their order: what is computed
# from one stays in the cache.
BLOCK_ENTRIES = 2**19
BLOCK_ROWS = 4096

# Entries of a block where each block takes some work in Python.
LARGE_BLOCK_ENTRIES = 2**22

# What torch can take rows of.
DTYPES = {
    np.dtype(name)
    for name in (
        *("bool", "int8", "uint8", "int16", "int32", "int64"),
        *("float16", "float32", "float64"),
    )
}

Index: TypeAlias = Tensor | slice


def working_dtype(dtype: np.dtype) -> np.dtype:
    """What numbers of a dtype are computed in: float64 stays, all else is float32."""
    return np.dtype("float64" if dtype == np.float64 else "float32")


def torch_dtype(dtype: Any) -> torch.dtype:
    """Torch's name of a numpy dtype."""
    return getattr(torch, np.dtype(dtype).name)


class Rows:
    """Some or all rows of a dense or CSR matrix, as tensors of one dtype.

    Nothing is copied but the batches that are taken: the matrix may be larger than
    memory. On a GPU it is moved there once.

    Parameters
    ----------
    matrix : ndarray, scipy CSR array or Tensor of shape (n, ...)
        Of any dtype in `DTYPES`; memory-mapped and read-only arrays will do.
    dtype : torch.dtype or None, default=None
        Of batches; None keeps that of the matrix.
    device : torch.device or str, default="cpu"
    positions : ndarray of shape (n_rows,), default=None
        The rows that count; all by default.
    others : ndarray of shape (k,), default=None
        What a CSR matrix (n, k) has where it stores nothing: batches are then dense.
    """

    def __init__(
        self,
        matrix: Any,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        positions: np.ndarray | None = None,
        others: np.ndarray | None = None,
    ):
        self.matrix = to_tensor(matrix, device)
        # scipy takes rows of these in a third of the time, but none of float16
        can_take = issparse(matrix) and matrix.dtype != np.float16
        self.of_scipy = matrix if can_take and self.matrix.is_cpu else None
        self.dtype = dtype or self.matrix.dtype
        self.positions = None if positions is None else to_tensor(positions, device)
        self.others = None if others is None else to_tensor(others, device)

    def __len__(self) -> int:
        return len(self.matrix if self.positions is None else self.positions)

    @property
    def width(self) -> float:
        """Numbers that are stored for a row, on average."""
        if is_sparse(self.matrix) and self.others is None:
            return self.matrix.values().numel() / max(len(self.matrix), 1)
        return math.prod(self.matrix.shape[1:])

    def take(self, index: Index) -> Tensor:
        """The rows at these places, dense or CSR as the matrix is."""
        if self.positions is not None:
            index = self.positions[index]
        if is_sparse(self.matrix):
            if self.of_scipy is None or isinstance(index, slice):
                batch = _take_csr(self.matrix, index, self.dtype)
            else:
                batch = _take_scipy(self.of_scipy, index, self.dtype)
            return batch if self.others is None else _fill(batch, self.others)
        if isinstance(index, Tensor):
            return as_dtype(self.matrix.index_select(0, index), self.dtype)
        return as_dtype(self.matrix[index], self.dtype)


def block_slices(n_rows: int, width: float) -> Iterator[slice]:
    """Consecutive blocks of rows of which ``width`` numbers each are held at a time."""
    size = block_size(width)
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def block_size(width: float) -> int:
    """Number of rows in a block of `block_slices`."""
    return max(min(BLOCK_ROWS, int(BLOCK_ENTRIES / max(width, 1))), 1)


def map_rows(
    function: Callable[[slice], np.ndarray], n_rows: int, size: int
) -> np.ndarray:
    """What a function makes of blocks of rows, as one array.

    Parameters
    ----------
    function : callable
        Called with consecutive slices; returns an array with a row for each of theirs.
    n_rows : int
        Without any the function is called once, with an empty slice.
    size : int
        Number of rows in a block.
    """
    first = function(slice(0, min(size, n_rows)))
    if size >= n_rows:
        return first
    whole = np.empty((n_rows, *first.shape[1:]), first.dtype)
    whole[:size] = first
    for start in range(size, n_rows, size):
        rows = slice(start, min(start + size, n_rows))
        whole[rows] = function(rows)
    return whole


def rows_at_once(width: float, unit: int = 1) -> int:
    """Rows of ``width`` numbers whose blocks take little memory, and few calls.

    Parameters
    ----------
    width : float
    unit : int, default=1
        The result is a multiple of it.
    """
    return unit * max(int(LARGE_BLOCK_ENTRIES / max(width, 1) / unit), 1)


class RowDataset(Dataset):
    """Matrices with a row for each sample.

    Parameters
    ----------
    columns : Rows, each of the same length
    shard : Shard, default=None
        Where these samples are among those of all ranks; None is a single rank.
    inputs : BatchPart, default=None
        Which of the distinct inputs of all ranks these samples are; by default each is
        its own.
    """

    def __init__(
        self,
        *columns: Rows,
        shard: Shard | None = None,
        inputs: BatchPart | None = None,
    ):
        self.columns = columns
        self.shard = shard or Shard(0, len(columns[0]), len(columns[0]))
        self.inputs = inputs or self.shard.part

    def __len__(self) -> int:
        return len(self.columns[0])

    def take(self, index: Index) -> tuple[Tensor, ...]:
        """A batch: the rows of each matrix."""
        return tuple(rows.take(index) for rows in self.columns)


def _take_csr(matrix: Tensor, index: Index, dtype: torch.dtype) -> Tensor:
    starts, columns = matrix.crow_indices(), matrix.col_indices()
    if isinstance(index, slice):
        start, stop, _ = index.indices(len(matrix))
        starts = starts[start : stop + 1]
        entries: Index = slice(int(starts[0]), int(starts[-1]))
        starts = starts - starts[0]
        columns, values = columns[entries], matrix.values()[entries]
    else:
        firsts = starts.index_select(0, index)
        lengths = starts.index_select(0, index + 1) - firsts
        ends = lengths.cumsum(0, dtype=lengths.dtype)
        starts = torch.cat([lengths.new_zeros(1), ends])
        shifts = (firsts - starts[:-1]).repeat_interleave(lengths)
        entries = torch.arange(len(shifts), device=shifts.device).add_(shifts)
        columns = columns.index_select(0, entries)
        values = matrix.values().index_select(0, entries)
    shape = (len(starts) - 1, matrix.shape[1])
    return csr_tensor(starts, columns, values.to(dtype), shape)


def _take_scipy(matrix: csr_array, index: Tensor, dtype: torch.dtype) -> Tensor:
    taken = matrix[index.numpy()]
    parts = taken.indptr, taken.indices, taken.data
    starts, columns, values = map(torch.from_numpy, parts)
    return csr_tensor(starts, columns, values.to(dtype), taken.shape)


def _fill(batch: Tensor, others: Tensor) -> Tensor:
    """A dense matrix of a CSR one, with other entries where that stores nothing."""
    dense = others.to(batch.dtype).repeat(len(batch), 1)
    dense[row_indices(batch), batch.col_indices()] = batch.values()
    return dense


class _WriteableView:
    """A read-only array as numpy sees it when it believes it may write.

    torch warns of read-only arrays, which joblib hands to its workers as memory maps,
    and has no read-only tensors. Ours are never written to, so nothing is copied.
    """

    def __init__(self, array: np.ndarray):
        self.array = array  # keeps the memory alive
        interface = dict(array.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface


def to_tensor(matrix: Any, device: torch.device | str) -> Tensor:
    """A tensor that shares the memory of an array on the CPU: do not write to it.

    Parameters
    ----------
    matrix : ndarray, scipy CSR array or Tensor
    device : torch.device or str
    """
    if isinstance(matrix, Tensor):
        return matrix.to(device)
    if issparse(matrix):
        parts = (matrix.indptr, matrix.indices, matrix.data)
        starts, columns, values = (to_tensor(part, device) for part in parts)
        return csr_tensor(starts, columns, values, matrix.shape)
    if min(matrix.strides, default=0) < 0:
        matrix = matrix.copy()  # a single row that runs backwards counts as contiguous
    if not matrix.flags.writeable:
        matrix = np.asarray(_WriteableView(matrix))
    return torch.from_numpy(matrix).to(device)


def to_numpy(tensor: Tensor) -> np.ndarray:
    """An array of its own memory."""
    return tensor.detach().cpu().numpy().copy()
