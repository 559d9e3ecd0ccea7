"""Rank selection and truncation."""

import numpy as np
import pytest

from mtrl_sklearn._relu.spectral import candidate_ranks, truncate


def first_edge(values):
    return next(iter(candidate_ranks(values)), None)


def noise_bulk(rng, n_hidden, n_features, scale):
    return scale * rng.standard_normal((n_hidden, n_features)) / np.sqrt(n_hidden)


@pytest.mark.parametrize("rank", [1, 2, 4, 10])
@pytest.mark.parametrize("shape", [(256, 60), (60, 256), (512, 1000)])
def test_rank_of_a_low_rank_matrix_in_noise_is_found(rank, shape):
    rng = np.random.default_rng(0)
    left = np.linalg.qr(rng.standard_normal((shape[0], rank)))[0]
    right = np.linalg.qr(rng.standard_normal((shape[1], rank)))[0]
    noise = noise_bulk(rng, *shape, 1 / 8)
    values = np.linspace(1, 0.7, rank) * 8 * np.linalg.norm(noise, 2)
    assert first_edge(np.linalg.svd((left * values) @ right.T + noise)[1]) == rank


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", [(256, 60), (512, 8), (64, 1000)])
def test_noise_has_no_rank(seed, shape):
    noise = noise_bulk(np.random.default_rng(seed), *shape, 1)
    assert first_edge(np.linalg.svd(noise)[1]) is None


def noise_with_constant_columns(rng):
    weights = noise_bulk(rng, 128, 50, 1).astype(np.float32)
    return weights * (np.arange(50) < 30)


def noise_with_repeated_columns(rng):
    weights = noise_bulk(rng, 128, 30, 1).astype(np.float32)
    return np.hstack([weights, weights[:, :15]])


def noise_in_the_span_of_few_rows(rng):
    weights = noise_bulk(rng, 128, 40, 1) @ rng.standard_normal((40, 200))
    return weights.astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "make",
    [
        noise_with_constant_columns,
        noise_with_repeated_columns,
        noise_in_the_span_of_few_rows,
    ],
)
def test_rounding_errors_are_no_bulk(make, seed):
    weights = make(np.random.default_rng(seed))
    assert first_edge(np.linalg.svd(weights)[1]) is None


@pytest.mark.parametrize("power", [0.3, 0.5, 1, 2])
def test_a_spectrum_that_keeps_falling_has_no_rank(power):
    assert first_edge(np.arange(1.0, 200.0) ** -power) is None


def test_one_dominant_direction_on_real_data_is_no_rank():
    """Measured on assays: the largest ratio of neighbours is the first."""
    values = np.array([1, 0.63, 0.57, 0.47, 0.40, 0.37, 0.33, 0.31, 0.30, 0.28, 0.27])
    assert first_edge(values) is None


def test_rank_does_not_depend_on_scale():
    values = np.r_[1, 0.9, 0.8, np.linspace(0.3, 0.2, 20)]
    assert first_edge(values) == first_edge(1e-6 * values) == 3


@pytest.mark.parametrize("values", [np.zeros(5), np.ones(1), np.array([1, 0.1])])
def test_too_few_values_have_no_rank(values):
    assert first_edge(values) is None


@pytest.mark.parametrize("shape", [(20, 12), (12, 20)])
def test_truncation_is_the_best_approximation(shape):
    weights = np.random.default_rng(0).standard_normal(shape)
    subspace = truncate(weights, 3)
    values = np.linalg.svd(weights)[1]
    np.testing.assert_allclose(subspace.singular_values, values)
    error = np.linalg.norm(weights - subspace.weights)
    assert error == pytest.approx(np.sqrt((values[3:] ** 2).sum()))
    np.testing.assert_allclose(
        subspace.components @ subspace.components.T, np.eye(3), atol=1e-12
    )
    projected = subspace.weights @ subspace.components.T @ subspace.components
    np.testing.assert_allclose(projected, subspace.weights, atol=1e-12)


@pytest.mark.parametrize("n_components", [None, 12])
def test_full_rank_leaves_the_weights_untouched(n_components):
    weights = np.random.default_rng(0).standard_normal((20, 12))
    subspace = truncate(weights, n_components)
    assert subspace.weights is weights
    assert subspace.components.shape == (12, 12)


def test_components_do_not_flip_with_the_sign_of_the_hidden_units():
    weights = np.random.default_rng(0).standard_normal((20, 12))
    flipped = weights * np.random.default_rng(1).choice([-1, 1], 20)[:, None]
    np.testing.assert_allclose(
        truncate(weights, 2).components, truncate(flipped, 2).components, atol=1e-12
    )
