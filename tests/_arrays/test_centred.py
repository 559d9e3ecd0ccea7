"""Centred blocks side by side, as one factor of products."""

import tracemalloc

import numpy as np
import pytest

from mtrl_sklearn._arrays import block_scale as _block_scale
from mtrl_sklearn._arrays import centred as _centred
from mtrl_sklearn._arrays.centred import SideBySide, centre
from mtrl_sklearn.probing import LinearProbe


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_are_those_of_centred_rows(dtype, monkeypatch):
    monkeypatch.setattr(_centred, "AT_ONCE", 40)  # of float32, a part of the rows
    rng = np.random.default_rng(0)
    raw = 100 + rng.standard_normal((50, 7)).astype(dtype)
    weights = rng.uniform(0.5, 2, 50)
    block = centre(raw, 3.0, weights, dtype)
    assert block.matrix.dtype == dtype
    exact = raw.astype(float) / 3
    exact -= np.average(exact, axis=0, weights=weights)
    both = SideBySide([block.times(2.0).times(0.25), block])
    expected = np.hstack([0.5 * exact, exact])
    tolerance = {"atol": 1e-6 if dtype == "float32" else 1e-13}
    right, left = rng.standard_normal((14, 3)), rng.standard_normal((4, 50))
    np.testing.assert_allclose(both @ right, expected @ right, **tolerance)
    np.testing.assert_allclose(left @ both, left @ expected, **tolerance)
    np.testing.assert_allclose(left[0] @ both, left[0] @ expected, **tolerance)
    if dtype == "float64":
        np.testing.assert_allclose(both.products(), expected @ expected.T)


def test_probes_of_many_labels_keep_one_copy_of_the_rows(monkeypatch):
    monkeypatch.setattr(_block_scale, "LARGE_BLOCK_ENTRIES", 2**18)
    X = np.random.default_rng(0).standard_normal((5000, 1000), dtype=np.float32)
    tracemalloc.start()
    LinearProbe().fit(X, X[:, 0] > 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # beside the copy, few rows in float64
    assert peak < 2 * X.nbytes
