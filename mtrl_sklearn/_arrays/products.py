"""Matrix products whose left factor may be sparse, or sparse and shifted.

Inputs and labels come in batches, dense or as CSR tensors: the networks multiply by
both from the left, as they are and transposed. Sparse products cost what is stored.
"""

import functools
import threading
import warnings
from typing import NamedTuple, TypeAlias, TypeGuard, overload

import torch
from scipy.sparse import csr_array
from torch import Tensor
from torch.nn.functional import embedding_bag


class ShiftedRows(NamedTuple):
    """The matrix ``rows - offset``, which written out would not be sparse."""

    rows: Tensor  # CSR, (n, k)
    offset: Tensor  # (k,)


Factor: TypeAlias = Tensor | ShiftedRows


def is_dense(matrix: Factor) -> TypeGuard[Tensor]:
    """Whether a matrix is an ordinary tensor."""
    return isinstance(matrix, Tensor) and matrix.layout == torch.strided


def is_sparse(matrix: Factor) -> bool:
    """Whether a matrix is shifted, or a CSR tensor."""
    return not is_dense(matrix)


def csr_tensor(
    crow_indices: Tensor, col_indices: Tensor, values: Tensor, shape: tuple[int, int]
) -> Tensor:
    """A CSR tensor of parts that are known to be right."""
    _silence_notice()
    return torch.sparse_csr_tensor(
        crow_indices, col_indices, values, shape, check_invariants=False
    )


_lock = threading.Lock()


@functools.cache
def _silence_notice() -> None:
    """Take torch's notice that CSR tensors are in beta, which comes once a process."""
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.eye(1).to_sparse_csr()


@overload
def cast(matrix: Tensor, dtype: torch.dtype) -> Tensor: ...
@overload
def cast(matrix: ShiftedRows, dtype: torch.dtype) -> ShiftedRows: ...
def cast(matrix: Factor, dtype: torch.dtype) -> Factor:
    """The matrix in another precision; products cast what a CSR tensor stores."""
    if isinstance(matrix, ShiftedRows):
        return matrix._replace(offset=matrix.offset.to(dtype))
    return as_dtype(matrix, dtype) if is_dense(matrix) else matrix


def as_dtype(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """As ``tensor.to(dtype)``, which takes its time where there is nothing to do."""
    return tensor if tensor.dtype == dtype else tensor.to(dtype)


def by_feature(weights: Tensor) -> Tensor:
    """Weights (n_hidden, n_features) with those of a feature together in memory.

    Sparse products read and write them so.
    """
    return weights.T.contiguous().T


def row_indices(matrix: Tensor) -> Tensor:
    """Row of each entry that a CSR tensor stores, of shape (n_stored,)."""
    crow = matrix.crow_indices()
    return torch.repeat_interleave(crow.diff(), output_size=matrix.values().numel())


def multiply(left: Factor, right: Tensor) -> Tensor:
    """``left @ right``, of shape (n, m).

    Parameters
    ----------
    left : Tensor or ShiftedRows of shape (n, k)
    right : Tensor of shape (k, m)
        Where ``left`` is sparse, rows that are contiguous in memory save a copy.
    """
    if isinstance(left, ShiftedRows):
        return multiply(left.rows, right).sub_(left.offset @ right)
    if not is_sparse(left):
        return left @ right
    return _sum_rows(
        right, left.col_indices(), left.crow_indices(), left.values().to(right.dtype)
    )


def multiply_transposed(left: Factor, right: Tensor) -> Tensor:
    """``left.T @ right``, of shape (k, m).

    Parameters
    ----------
    left : Tensor or ShiftedRows of shape (n, k)
    right : Tensor of shape (n, m)
    """
    if isinstance(left, ShiftedRows):
        product = multiply_transposed(left.rows, right)
        return product.addr_(left.offset, right.sum(0), alpha=-1)
    if not is_sparse(left):
        return left.T @ right
    rows, starts, values = _by_column(left)
    return _sum_rows(right, rows, starts, values.to(right.dtype))


def _by_column(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of what a CSR tensor stores column by column, their starts, and values."""
    return _count_columns(matrix) if matrix.is_cpu else _sort_columns(matrix)


def _count_columns(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same of a tensor on the CPU, in an eighth of the time of a sort."""
    parts = matrix.values(), matrix.col_indices(), matrix.crow_indices()
    arrays = tuple(part.numpy() for part in parts)
    turned = csr_array(arrays, shape=tuple(matrix.shape)).tocsc()
    starts, values = torch.from_numpy(turned.indptr), torch.from_numpy(turned.data)
    return torch.from_numpy(turned.indices), starts, values


def _sort_columns(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same of a tensor on any device."""
    columns, order = matrix.col_indices().sort(stable=True)
    counts = torch.bincount(columns, minlength=matrix.shape[1])
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)]).to(columns.dtype)
    rows = row_indices(matrix).to(columns.dtype).index_select(0, order)
    return rows, starts, matrix.values().index_select(0, order)


def add_transposed_(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add ``left.T @ right`` to a tensor of shape (k, m), in place.

    The product is computed in the dtype of the factors, the sum in that of the total.

    Parameters
    ----------
    total : Tensor of shape (k, m)
    left : Tensor of shape (n, k)
        Dense or CSR; of CSR ones only columns that hold something cost anything.
    right : Tensor of shape (n, m)
    """
    if not is_sparse(left):
        total.add_(left.T @ right)
        return
    crow = left.crow_indices()
    columns, places = left.col_indices().unique(return_inverse=True)
    shape = (left.shape[0], len(columns))
    compact = csr_tensor(crow, places.to(crow.dtype), left.values(), shape)
    total.index_add_(0, columns, multiply_transposed(compact, right).to(total.dtype))


def _sum_rows(matrix: Tensor, rows: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of rows of a matrix, one for each stretch of ``rows``."""
    return embedding_bag(
        rows,
        matrix,
        starts,
        mode="sum",
        per_sample_weights=weights,
        include_last_offset=True,
    )


def multiply_at(pattern: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Entries of ``left @ right.T`` where a CSR tensor stores one, (n_stored,).

    Parameters
    ----------
    pattern : CSR Tensor of shape (n, k)
        Of the dtype of the factors; its values play no role. It may store several
        entries at the same place.
    left : Tensor of shape (n, m)
    right : Tensor of shape (k, m)
    """
    if pattern.values().numel() == 0:  # cuSPARSE may refuse
        return pattern.values()
    if pattern.values().numel() >= pattern.numel():
        # torch takes such a pattern for a full one, without entries that are repeated
        return (left @ right.T)[row_indices(pattern), pattern.col_indices()]
    return torch.sparse.sampled_addmm(pattern, left, right.T, beta=0).values()


def column_sums(matrix: Tensor) -> Tensor:
    """Sums over rows, of shape (k,)."""
    if not is_sparse(matrix):
        return matrix.sum(0)
    sums = matrix.values().new_zeros(matrix.shape[1])
    return sums.index_add_(0, matrix.col_indices(), matrix.values())


def row_sums(matrix: Tensor) -> Tensor:
    """Sums over columns, of shape (n,)."""
    if not is_sparse(matrix):
        return matrix.sum(1)
    sums = matrix.values().new_zeros(matrix.shape[0])
    return sums.index_add_(0, row_indices(matrix), matrix.values())


def entries(matrix: Tensor) -> Tensor:
    """What a matrix stores: itself if dense, the values of a CSR tensor."""
    return matrix.values() if is_sparse(matrix) else matrix


def with_values(matrix: Tensor, values: Tensor) -> Tensor:
    """A matrix that stores other values at the same places."""
    if not is_sparse(matrix):
        return values
    shape = (matrix.shape[0], matrix.shape[1])
    return csr_tensor(matrix.crow_indices(), matrix.col_indices(), values, shape)
