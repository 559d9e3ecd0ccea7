"""Tensors and sparse matrices of any kind as arrays, dense or CSR."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.sparse import (
    bsr_array,
    coo_array,
    csc_array,
    csr_array,
    dia_array,
    issparse,
)
from torch import Tensor

# What numpy has too.
FLOATS = {torch.float16, torch.float32, torch.float64}

COMPRESSED: dict[str, Callable] = {
    "csr": csr_array,
    "csc": csc_array,
    "bsr": bsr_array,
}


def as_numpy(value: Any, name: str) -> Any:
    """What numpy cannot read, or reads as other numbers, as an array; all else as is.

    Parameters
    ----------
    value : object
        Tensors on any device, lists of them, and what hands out memory by DLPack only.
    name : str
        What errors call it.

    Returns
    -------
    object
        Arrays share the memory of tensors on the CPU. Sparse tensors become CSR arrays,
        numbers of fewer bits than numpy has float32.

    Raises
    ------
    ValueError
        If a tensor has no array of the same numbers.
    """
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], Tensor):
        return [as_numpy(entry, name) for entry in value]
    if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
        value = torch.from_dlpack(value)
    if isinstance(value, Tensor):
        try:
            return _read_tensor(value)
        except (RuntimeError, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"{name} is a tensor that cannot be read as an array ({reason}). Pass "
                "an array, or a tensor of layout torch.strided or torch.sparse_csr."
            ) from error
    if hasattr(value, "__array__") and not hasattr(value, "columns"):
        dtype = getattr(value, "dtype", None)
        of_pandas = hasattr(dtype, "construct_from_string")
        if not isinstance(dtype, np.dtype) and not of_pandas:
            return np.asarray(value)
    return value


def _read_tensor(tensor: Tensor) -> Any:
    tensor = tensor.detach()
    if tensor.is_floating_point() and (
        tensor.dtype not in FLOATS
        or (tensor.dtype == torch.float16 and tensor.layout != torch.strided)
    ):
        tensor = tensor.to(torch.float32)  # scipy has no float16
    if tensor.layout == torch.strided:
        return tensor.cpu().resolve_conj().resolve_neg().numpy()
    parts: tuple[Tensor, ...]
    shape = tuple(tensor.shape)
    if tensor.layout == torch.sparse_coo:
        places, values = tensor._indices(), tensor._values()
        stored, *indices = (part.cpu().numpy() for part in (values, *places))
        return read_sparse(coo_array((stored, tuple(indices)), shape=shape))
    if tensor.layout == torch.sparse_csr:
        make, parts = csr_array, (tensor.col_indices(), tensor.crow_indices())
    elif tensor.layout == torch.sparse_csc:
        make, parts = csc_array, (tensor.row_indices(), tensor.ccol_indices())
    else:
        raise ValueError(f"its layout is {tensor.layout}")
    stored, *indices = (part.cpu().numpy() for part in (tensor.values(), *parts))
    return read_sparse(make((stored, *indices), shape=shape))


def read_sparse(matrix: Any) -> csr_array:
    """CSR of a sparse matrix, all of whose indices are checked before they are used.

    Parameters
    ----------
    matrix : scipy sparse matrix or array of any format
        It stays as it is.

    Returns
    -------
    csr_array of the same shape
        In the byte order of this machine; shares memory with a CSR matrix.

    Raises
    ------
    ValueError
        If indices, their starts or the lengths of these contradict each other.
    """
    try:
        if matrix.format in COMPRESSED:
            _check_starts(matrix)
            parts = (matrix.data, _signed(matrix.indices), _signed(matrix.indptr))
            own = COMPRESSED[matrix.format](parts, shape=matrix.shape)
            own.check_format(full_check=True)
        elif matrix.format == "coo":
            places = tuple(map(_signed, matrix.coords))
            own = coo_array((matrix.data, places), shape=matrix.shape)
        elif matrix.format == "dia":
            own = dia_array((matrix.data, matrix.offsets), shape=matrix.shape)
        else:
            return read_sparse(csr_array(matrix.tocsr()))
    except (ValueError, IndexError) as error:
        raise ValueError(
            f"the parts of this {matrix.format!r} matrix contradict each other "
            f"({error}). Build it anew: its indices lead out of its memory."
        ) from error
    return own.tocsr()


def _check_starts(matrix: Any) -> None:
    """Refuse rows that end before they start: scipy does not look if all are empty."""
    starts = matrix.indptr
    if (starts[1:] < starts[:-1]).any():
        raise ValueError("indptr must be a non-decreasing sequence")


def _signed(indices: np.ndarray) -> np.ndarray:
    """Indices as scipy takes them without a warning."""
    if indices.dtype.kind not in "iu":
        raise ValueError(f"indices are of {indices.dtype}, not of integers")
    return indices.astype(np.int64) if indices.dtype.kind == "u" else indices


def is_sparse_frame(value: Any) -> bool:
    """Whether all columns of a data frame are sparse ones of pandas."""
    is_frame = hasattr(type(value), "columns") and hasattr(value, "dtypes")
    dtypes = value.dtypes if is_frame else ()
    return len(dtypes) > 0 and all(type(d).__name__ == "SparseDtype" for d in dtypes)


def read_sparse_frame(frame: Any, name: str) -> csr_array:
    """CSR of a frame of sparse columns: float32 if all of them are, else float64.

    Raises
    ------
    ValueError
        If entries that are not stored stand for anything but 0.
    """
    fills = [dtype.fill_value for dtype in frame.dtypes]
    others = [fill for fill in fills if fill != 0]
    if others:
        raise ValueError(
            f"{name} is a sparse frame of {len(others)} columns whose entries that are "
            f"not stored stand for {others[0]}, not for 0. Pass "
            f"{name}.sparse.to_dense(), or columns of pandas.SparseDtype(float, 0)."
        )
    is_float32 = {np.dtype(dtype.subtype) for dtype in frame.dtypes} == {
        np.dtype(np.float32)
    }
    dtype = np.float32 if is_float32 else np.float64
    return read_sparse(frame.sparse.to_coo()).astype(dtype, copy=False)


def dense_remedy(value: Any, name: str) -> str | None:
    """How to make an array of something sparse; None for all that is not sparse."""
    if is_sparse_frame(value):
        return f"{name}.sparse.to_dense()"
    if isinstance(value, Tensor) and value.layout != torch.strided:
        return f"{name}.to_dense()"
    return f"{name}.toarray()" if issparse(value) else None
