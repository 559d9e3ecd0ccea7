"""Inputs of any shape as rows."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from mtrl_sklearn._conv.inputs import flatten_inputs, resolve_input_shape


@pytest.mark.parametrize("shape", [(2, 3), (3, 4, 5), (6, 1)])
def test_inputs_become_rows_in_c_order(shape):
    X = np.random.default_rng(0).standard_normal((7, *shape))
    for order in "CF":
        rows, found = flatten_inputs(np.asarray(X, order=order), None, None)
        assert found == shape
        np.testing.assert_array_equal(rows, X.reshape(7, -1))
    rows, found = flatten_inputs(X.tolist(), None, None)
    np.testing.assert_array_equal(rows, X.reshape(7, -1))
    assert found == shape


@pytest.mark.parametrize(
    "X", [np.ones((3, 2)), pd.DataFrame(np.ones((3, 2))), [[1, 2]], np.ones(3)]
)
def test_rows_pass_through_untouched(X):
    rows, shape = flatten_inputs(X, (1, 2), (1, 2))
    assert rows is X
    assert shape is None


def test_tensors_are_read():
    rows, shape = flatten_inputs(torch.arange(24).reshape(2, 3, 4), None, None)
    np.testing.assert_array_equal(rows, np.arange(24).reshape(2, 12))
    assert shape == (3, 4)


@pytest.mark.parametrize("dtype", [np.uint8, bool, np.float32, np.float64])
def test_the_type_of_entries_stays(dtype):
    rows, _ = flatten_inputs(np.ones((2, 3, 4), dtype), None, None)
    assert rows.dtype == dtype


def test_more_than_three_dimensions_are_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 1, 3, 4, 4\).*channels, height"):
        flatten_inputs(np.ones((2, 1, 3, 4, 4)), None, None)


@pytest.mark.parametrize("shape", [(1, 3, 8), (3, 8, 8), (8, 8, 4), (4, 16)])
def test_inputs_unlike_those_of_fit_are_refused_with_both_shapes(shape):
    with pytest.raises(ValueError, match=r"shape \(.*fitted on.*\(1, 8, 8\).*channels"):
        flatten_inputs(np.ones((2, *shape)), None, (1, 8, 8))


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (8, 8, 1)])
def test_axes_of_length_one_may_be_left_out(shape):
    rows, found = flatten_inputs(np.ones((2, *shape)), None, (1, 8, 8))
    assert rows.shape == (2, 64)
    assert found == shape


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_that_seem_to_come_last_are_refused(channels):
    X = np.ones((2, 9, 8, channels))
    with pytest.raises(ValueError, match=r"9 channels.*np.moveaxis\(X, -1, 1\)"):
        flatten_inputs(X, None, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flatten_inputs(np.moveaxis(X, -1, 1), None, None)
        flatten_inputs(X, (9, 8, channels), None)
        flatten_inputs(X, None, (9, 8, channels))


def test_square_inputs_that_may_be_images_are_refused():
    with pytest.raises(ValueError, match=r"8 patches of 8.*input_shape=\(1, 8, 8\)"):
        flatten_inputs(np.ones((2, 8, 8)), None, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flatten_inputs(np.ones((2, 7, 7)), None, None)
        flatten_inputs(np.ones((2, 8, 9)), None, None)
        flatten_inputs(np.ones((2, 8, 8)), (8, 8), None)
        flatten_inputs(np.ones((2, 8, 8)), None, (1, 8, 8))


def test_rows_are_signals_unless_a_shape_says_more():
    assert resolve_input_shape(None, None, 12) == (12,)
    assert resolve_input_shape(None, (3, 4), 12) == (3, 4)
    assert resolve_input_shape((1, 3, 4), None, 12) == (1, 3, 4)
    assert resolve_input_shape(np.array([3, 4]), None, 12) == (3, 4)
    assert resolve_input_shape([1, 3, 4], (3, 4), 12) == (1, 3, 4)


@pytest.mark.parametrize(
    ("input_shape", "message"),
    [
        ((3, 5), r"\(3, 5\) has 15 entries, but rows of X have 12.*product is 12"),
        ((2, 2, 2), r"8 entries, but rows of X have 12"),
        ((1, 1, 3, 4), r"one to three positive ints"),
        ((), r"one to three positive ints.*\(n_patches, patch_dim\)"),
        ((-3, -4), r"one to three positive ints"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused_with_its_numbers(input_shape, message):
    with pytest.raises(ValueError, match=message):
        resolve_input_shape(input_shape, None, 12)
