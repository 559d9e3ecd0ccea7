"""Products of rows of few-shot problems, by the features that they stand for."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from mtrl_sklearn._arrays.computed import Computed
from mtrl_sklearn.probing._blocks import Blocks
from mtrl_sklearn.probing._products import move_blocks, multiply_rows

FEW, OTHERS = np.array([7, 2, 30, 11, 19]), np.array([1, 40, 7, 22])
EVERYTHING = np.arange(50)


def draw_block(n_columns=6):
    return np.random.default_rng(0).standard_normal((50, n_columns))


def centred(block, rows):
    """Features of all rows, less the mean of some, whose squares are 1 on average."""
    moved = block - block[rows].mean(axis=0)
    return moved / np.sqrt(np.square(moved[rows]).sum(axis=1).mean())


@pytest.mark.parametrize("size", [1, 1e-30, 1e30, 1e100])
@pytest.mark.parametrize("shift", [0, 50])
@pytest.mark.parametrize("rows", [FEW, FEW[[3, 0, 1]], FEW[::-1]])
def test_products_are_those_of_centred_rows(rows, size, shift):
    hidden, inputs = draw_block(), np.abs(draw_block(9))
    blocks = move_blocks(Blocks(size * (hidden + shift), None, inputs), EVERYTHING)
    found = multiply_rows(blocks, FEW, OTHERS).centre(rows)
    weights, dual = np.array([[0.3, 0.7], [1, 0]]), np.array([[1, 2, -1, 3, 1]] * 2)
    dual = dual[:, : len(rows)].astype(float)
    scores = found.score(weights, dual)
    expected = 0
    for place, block in enumerate((hidden, inputs)):
        Z = centred(block, rows)
        products = Z[rows] @ Z[rows].T
        np.testing.assert_allclose(found.among[place], products, atol=1e-5)
        kernel = Z[OTHERS] @ Z[rows].T
        expected = expected + weights[:, [place]] * (dual @ kernel.T)
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_sparse_rows_have_the_same_products():
    inputs = np.where(draw_block() > 0.3, draw_block(), 0)
    inputs[:, 2] = 5 + draw_block()[:, 2]  # without an implied 0
    dense, sparse = (
        multiply_rows(
            move_blocks(Blocks(None, None, X), EVERYTHING), FEW, OTHERS
        ).centre(FEW)
        for X in (inputs, csr_array(inputs))
    )
    np.testing.assert_allclose(sparse.among, dense.among, atol=1e-5)
    dual = np.array([[1.0, -2.0, 0.5, 0.0, 3.0]])
    np.testing.assert_allclose(
        sparse.score(np.ones((1, 1)), dual),
        dense.score(np.ones((1, 1)), dual),
        atol=1e-5,
    )


def test_a_block_that_does_not_vary_has_no_products():
    same = draw_block()
    same[FEW] = same[0]  # others do
    found = multiply_rows(
        move_blocks(Blocks(same, None, 0 * same), EVERYTHING), FEW, OTHERS
    )
    kernels = found.centre(FEW)
    assert not kernels.among.any()
    assert not kernels.score(np.ones((1, 2)), np.ones((1, 5))).any()


def test_entries_have_the_products_of_their_rows():
    hidden, places = draw_block(), np.random.default_rng(1).integers(50, size=80)
    entries = np.arange(80)
    of_rows = Blocks(hidden[places], None, None)
    expected = multiply_rows(move_blocks(of_rows, entries), FEW, OTHERS).centre(FEW)
    moved = move_blocks(Blocks(hidden, None, None), entries, places)
    kept = {name: block.keep(entries[::-1]) for name, block in moved.items()}
    for blocks, rows in ((moved, lambda k: k), (kept, lambda k: 79 - k)):
        found = multiply_rows(blocks, rows(FEW), rows(OTHERS)).centre(rows(FEW))
        np.testing.assert_allclose(found.among, expected.among, atol=1e-5)


def test_rows_that_are_computed_have_the_same_products():
    block = draw_block()
    computed = Computed(block.__getitem__, EVERYTHING, 6, block.dtype)
    of_array, of_computed = (
        multiply_rows(
            move_blocks(Blocks(None, features, None), EVERYTHING), FEW, OTHERS
        )
        for features in (block, computed)
    )
    np.testing.assert_array_equal(of_computed.among, of_array.among)
    np.testing.assert_array_equal(of_computed.between, of_array.between)


@pytest.mark.parametrize("offset", [1e5, 1e7])
def test_rows_far_from_others_keep_their_products(offset):
    """As those of a column that is 0 but for a few rows, or of clusters."""
    block = draw_block()
    block[40:] += offset
    moved = move_blocks(Blocks(block, None, None), EVERYTHING)
    for few in (FEW, np.arange(41, 46)):
        found = multiply_rows(moved, few, OTHERS).centre(few)
        rows = centred(block, few)[few]
        np.testing.assert_allclose(found.among[0], rows @ rows.T, atol=1e-4)


def test_a_block_that_rounding_alone_tells_apart_has_no_products():
    nearly = np.float32(3) + 1e-7 * draw_block().astype(np.float32)
    assert len(np.unique(nearly)) > 1
    moved = move_blocks(Blocks(nearly, None, None), EVERYTHING)
    assert not multiply_rows(moved, FEW, OTHERS).centre(FEW).among.any()
