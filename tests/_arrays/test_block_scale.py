"""The size of a block of features."""

import tracemalloc

import numpy as np
import pytest

from mtrl_sklearn._arrays import block_scale as module
from mtrl_sklearn._arrays.block_scale import block_scale


@pytest.fixture
def block():
    X = np.random.default_rng(0).standard_normal((500, 37)).astype(np.float32)
    X[:, 5] = 3.3
    return X


@pytest.mark.parametrize("entries", [2**22, 3000])
def test_it_is_the_root_of_the_mean_squared_norm(monkeypatch, block, entries):
    monkeypatch.setattr(module, "LARGE_BLOCK_ENTRIES", entries)
    monkeypatch.setattr(module, "MIN_COLUMNS", 4)
    weights = np.random.default_rng(1).random(500) + 0.1
    exact = block.astype(float)
    centred = exact - weights @ exact / weights.sum()
    expected = np.sqrt(weights @ (centred**2).sum(axis=1) / weights.sum())
    assert block_scale(block, weights) == pytest.approx(expected, rel=1e-12)
    assert block_scale(1e30 * block, weights) == pytest.approx(
        1e30 * expected, rel=1e-6
    )
    assert block_scale(np.full_like(block, 3.3), weights) == np.inf


def test_a_large_block_is_not_copied(monkeypatch, block):
    monkeypatch.setattr(module, "LARGE_BLOCK_ENTRIES", 10_000)
    large = np.tile(block, (20, 20))
    tracemalloc.start()
    block_scale(large)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < large.nbytes / 2
