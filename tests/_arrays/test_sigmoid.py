"""The logistic function of arrays."""

import numpy as np
import pytest

from mtrl_sklearn._arrays.sigmoid import sigmoid


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_is_exact_to_rounding_and_at_its_ends(dtype):
    scores = np.array([[-np.inf, -1000, -20, 0], [1.5, 30, 1000, np.inf]], dtype)
    exact = (1 / (1 + np.exp(-scores.astype(np.longdouble)))).astype(dtype)
    np.testing.assert_allclose(sigmoid(scores), exact, rtol=4 * np.finfo(dtype).eps)
    assert sigmoid(scores).dtype == dtype
    assert np.isnan(sigmoid(np.array([np.nan], dtype)))


def test_sigmoid_takes_any_view_and_leaves_it_alone():
    scores = np.arange(12.0).reshape(3, 4)
    scores.flags.writeable = False
    for view in (scores[::-1], scores[:, ::2].T, scores[:0]):
        np.testing.assert_allclose(sigmoid(view), 1 / (1 + np.exp(-view)), rtol=1e-15)
    np.testing.assert_array_equal(scores.ravel(), np.arange(12.0))
