"""Products with sparse left factors are those with dense ones."""

import numpy as np
import pytest
import torch
from scipy import sparse

from mtrl_sklearn._arrays.products import (
    ShiftedRows,
    _count_columns,
    _sort_columns,
    add_transposed_,
    cast,
    column_sums,
    csr_tensor,
    entries,
    is_sparse,
    multiply,
    multiply_at,
    multiply_transposed,
    row_sums,
    with_values,
)
from mtrl_sklearn._arrays.rows import Rows

DTYPES = (torch.float32, torch.float64)


@pytest.fixture(params=[torch.int32, torch.int64], ids=["int32", "int64"])
def pair(request):
    """A CSR tensor with empty rows and columns, and the same as a dense one."""
    generator = torch.Generator().manual_seed(0)
    dense = torch.randn(20, 30, generator=generator, dtype=torch.float64)
    dense *= torch.rand(20, 30, generator=generator) < 0.1
    dense[3], dense[:, 4] = 0, 0
    stored = sparse.csr_array(dense.numpy())
    parts = (torch.from_numpy(a) for a in (stored.indptr, stored.indices))
    crow, columns = (part.to(request.param) for part in parts)
    return csr_tensor(crow, columns, torch.from_numpy(stored.data), (20, 30)), dense


def normal(*shape):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_products_are_those_of_the_dense_matrix(pair):
    csr, dense = pair
    assert is_sparse(csr)
    assert not is_sparse(dense)
    right, below = normal(30, 5), normal(20, 5)
    for left in pair:
        torch.testing.assert_close(multiply(left, right), dense @ right)
        torch.testing.assert_close(multiply_transposed(left, below), dense.T @ below)
        torch.testing.assert_close(column_sums(left), dense.sum(0))
        torch.testing.assert_close(row_sums(left), dense.sum(1))
        total = normal(30, 5)
        add_transposed_(total, left, below)
        torch.testing.assert_close(total, normal(30, 5) + dense.T @ below)
    squares = with_values(csr, entries(csr).square())
    torch.testing.assert_close(multiply(squares, right), dense.square() @ right)


@pytest.mark.parametrize("turn", [_count_columns, _sort_columns])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_what_is_stored_comes_column_by_column(turn, dtype):
    """On the CPU and elsewhere; an entry that is stored twice, too."""
    starts, columns = (
        torch.tensor(n, dtype=dtype) for n in ([0, 3, 3, 5], [2, 0, 2, 0, 3])
    )
    values = torch.tensor([1, 2, 3, 4, 5], dtype=torch.int8)
    rows, starts, values = turn(csr_tensor(starts, columns, values, (3, 5)))
    assert rows.tolist() == [0, 2, 0, 0, 2]
    assert starts.tolist() == [0, 2, 2, 4, 5, 5]
    assert values.tolist() == [2, 4, 1, 3, 5]
    assert rows.dtype == starts.dtype  # which sums of rows ask for
    empty = torch.zeros(4, dtype=dtype)
    rows, starts, _ = turn(csr_tensor(empty, empty[:0], values[:0], (3, 2)))
    assert (rows.tolist(), starts.tolist()) == ([], [0, 0, 0])


def test_shifted_rows_stand_for_a_matrix_that_is_not_sparse(pair):
    csr, dense = pair
    offset, right, below = normal(30), normal(30, 5), normal(20, 5)
    shifted = ShiftedRows(csr, offset)
    torch.testing.assert_close(multiply(shifted, right), (dense - offset) @ right)
    product = multiply_transposed(shifted, below)
    torch.testing.assert_close(product, (dense - offset).T @ below)


def test_products_where_a_pattern_stores_an_entry(pair):
    csr, dense = pair
    left, right = normal(20, 6), normal(30, 6)
    at = multiply_at(csr, left, right)
    torch.testing.assert_close(at, (left @ right.T)[dense != 0])


def test_right_factors_set_the_precision(pair):
    csr, dense = pair
    right = normal(30, 5).bfloat16()
    product = multiply(cast(csr, torch.bfloat16), right)
    assert product.dtype == torch.bfloat16
    # both factors and the result are rounded to eight bits, 2^-9 of each term
    torch.testing.assert_close(
        product.double(), dense @ right.double(), rtol=0.02, atol=0.02
    )
    shifted = cast(ShiftedRows(csr, normal(30)), torch.bfloat16)
    assert multiply(shifted, right).dtype == torch.bfloat16


@pytest.mark.parametrize("kind", ["dense", "csr"])
@pytest.mark.parametrize("positions", [None, np.array([7, 3, 3, 19, 0])])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_those_of_the_matrix(kind, positions, dtype):
    rng = np.random.default_rng(0)
    dense = rng.integers(-3, 4, (20, 6)).astype(np.int8)
    dense[rng.random(dense.shape) < 0.6] = 0
    matrix = dense if kind == "dense" else sparse.csr_array(dense)
    rows = Rows(matrix, dtype, "cpu", positions)
    expected = dense if positions is None else dense[positions]
    assert len(rows) == len(expected)
    for index in (slice(None), slice(1, 4), slice(4, 99), torch.tensor([2, 0, 2])):
        batch = rows.take(index)
        assert batch.dtype == dtype
        assert is_sparse(batch) == (kind == "csr")
        batch = batch.to_dense() if kind == "csr" else batch
        chosen = index.numpy() if isinstance(index, torch.Tensor) else index
        np.testing.assert_array_equal(batch, expected[chosen])


def test_sparse_rows_may_be_of_float16():
    """Of which scipy takes none."""
    values = np.array([0.5, 2, 3], dtype=np.float16)
    matrix = sparse.csr_array((values, [0, 2, 1], [0, 1, 1, 3]), shape=(3, 3))
    batch = Rows(matrix, torch.float32).take(torch.tensor([2, 1, 0, 2]))
    expected = [[0, 3, 2], [0, 0, 0], [0.5, 0, 0], [0, 3, 2]]
    assert batch.to_dense().tolist() == expected


def test_rows_of_read_only_memory_maps_are_not_copied(tmp_path):
    numbers = np.arange(12, dtype=np.uint8).reshape(4, 3)
    numbers.tofile(tmp_path / "numbers")
    mapped = np.memmap(tmp_path / "numbers", np.uint8, "r", shape=(4, 3))
    rows = Rows(mapped, torch.float32)
    assert rows.matrix.data_ptr() == mapped.ctypes.data
    np.testing.assert_array_equal(rows.take(torch.tensor([3, 1])), numbers[[3, 1]])
