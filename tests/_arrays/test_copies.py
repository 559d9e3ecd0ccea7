"""Equal rows have the same number, in whatever form and order they come."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from mtrl_sklearn._arrays import rows as _rows
from mtrl_sklearn._arrays.copies import (
    hash_rows,
    number_copies,
    number_inputs,
    project_rows,
)
from mtrl_sklearn._group import ALONE


@pytest.fixture
def X():
    return np.random.default_rng(0).integers(-1, 2, (2000, 9)).astype(float)


def test_rows_have_the_same_number_exactly_if_they_are_equal(X):
    _, expected = np.unique(X, axis=0, return_inverse=True)
    _, found = np.unique(hash_rows(X), return_inverse=True)
    n_pairs = len(np.unique(np.stack([expected, found]), axis=1).T)
    assert n_pairs == expected.max() + 1 == found.max() + 1


@pytest.mark.parametrize("digits", [0, 3, 20, 46, 51])
def test_rows_that_differ_in_one_bit_of_many_have_other_numbers(digits):
    """All sums of few bits: what a plain sum of products would take for equal."""
    bits = np.random.default_rng(1).integers(0, 2, (3000, 40))
    X = 1 + bits * 2.0 ** (digits - 52)
    assert len(np.unique(hash_rows(X))) == len(np.unique(X, axis=0))


@pytest.mark.parametrize("values", [(-1, 1), (0, 2), (0, 1), (0, 0.5)])
def test_rows_of_two_values_hardly_ever_collide(values):
    """Their bits differ in the upper ones alone."""
    chosen = np.random.default_rng(4).integers(0, 2, (200_000, 40))
    X = np.asarray(values, dtype=np.float32)[chosen]
    assert len(np.unique(hash_rows(X))) == len(np.unique(chosen, axis=0))


def test_forms_of_a_row_have_its_number(X, monkeypatch):
    expected = hash_rows(X)
    assert expected.dtype == np.uint64
    signed = np.where(X == 0, -0.0, X)
    stored = sparse.csr_array(X)
    stored.data[::5] = 0  # stored, and 0 all the same
    for form in (X.astype(np.float32), X.astype(np.int8), np.asfortranarray(X), signed):
        np.testing.assert_array_equal(hash_rows(form), expected)
    np.testing.assert_array_equal(hash_rows(sparse.csr_array(X)), expected)
    np.testing.assert_array_equal(hash_rows(stored), hash_rows(stored.toarray()))
    monkeypatch.setattr(_rows, "BLOCK_ENTRIES", 100)
    np.testing.assert_array_equal(hash_rows(X), expected)


def test_numbers_do_not_depend_on_the_order_of_rows(X):
    order = np.random.default_rng(2).permutation(len(X))
    n_rows, places = number_copies(hash_rows(X), ALONE)
    again, shuffled = number_copies(hash_rows(X[order]), ALONE)
    assert n_rows == again == len(np.unique(X, axis=0)) == places.max() + 1
    np.testing.assert_array_equal(places[order], shuffled)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_no_rows_have_no_numbers(form):
    assert hash_rows(form(np.zeros((0, 4)))).shape == (0,)


@pytest.mark.parametrize("form", [np.asarray, np.asfortranarray, sparse.csr_array])
def test_projections_tell_rows_apart_whatever_is_constant(form):
    rng = np.random.default_rng(2)
    X = np.column_stack([1e-30 * rng.standard_normal((300, 4)), np.full(300, 1e12)])
    order = rng.permutation(np.repeat(np.arange(300), 2))
    once, twice = (project_rows(form(rows), 7, ALONE) for rows in (X, X[order]))
    np.testing.assert_array_equal(twice, once[order])
    assert len(np.unique(once)) == 300


def test_projections_keep_their_order_where_entries_are_rounded():
    X = np.random.default_rng(3).standard_normal((300, 5))
    exact, rounded = (project_rows(rows, 0, ALONE) for rows in (X, X.astype("f4")))
    np.testing.assert_array_equal(exact.argsort(), rounded.argsort())


def as_sparse_frame(X):
    return pd.DataFrame.sparse.from_spmatrix(sparse.csr_array(X))


FORMS = {
    "array": np.asarray,
    "list": np.ndarray.tolist,
    "images": lambda X: X.reshape(len(X), 3, 1, 3),
    "csr": sparse.csr_array,
    "coo": sparse.coo_array,
    "tensor": torch.from_numpy,
    "tensors": lambda X: list(torch.from_numpy(X.reshape(-1, 3, 3))),
    "frame": pd.DataFrame,
    "sparse frame": as_sparse_frame,
    "filled frame": lambda X: pd.DataFrame(X).astype(pd.SparseDtype(float, 1)),
    "mixed frame": lambda X: pd.DataFrame(X).assign(c=np.where(X[:, 0] > 0, "a", "b")),
    "texts": lambda X: ["".join(map(str, row)) for row in X],
    "missing": lambda X: np.where(X < 0, np.nan, X),
    "objects": lambda X: np.where(X < 0, None, X),
}


@pytest.mark.parametrize("form", FORMS)
def test_inputs_are_numbered_as_they_first_come(form):
    rows = np.random.default_rng(3).integers(0, 60, 200)
    distinct = np.unique(np.random.default_rng(4).integers(-1, 2, (90, 9)), axis=0)
    order = list(dict.fromkeys(rows.tolist()))
    expected = [order.index(row) for row in rows]
    made = FORMS[form](distinct[rows].astype(float))
    np.testing.assert_array_equal(number_inputs(made), expected)


def test_entries_that_are_stored_twice_count_as_their_sum():
    parts = ([1.0, 2.0, 3.0], ([0, 0, 1], [1, 1, 1]))
    np.testing.assert_array_equal(number_inputs(sparse.coo_array(parts)), [0, 0])
    matrix = sparse.csr_matrix((parts[0], [1, 1, 1], [0, 2, 3]), shape=(2, 2))
    np.testing.assert_array_equal(number_inputs(matrix), [0, 0])
    assert matrix.nnz == 3  # as it came


def test_rows_of_several_lengths_are_inputs_each():
    np.testing.assert_array_equal(number_inputs([[1], [1], [1, 2]]), [0, 1, 2])


def test_no_rows_are_no_inputs():
    for empty in (np.zeros((0, 3)), sparse.csr_array((0, 3)), np.zeros((0, 3), object)):
        assert number_inputs(empty).shape == (0,)
