"""Angles of subspaces, alignment of filters, signal to noise."""

from inspect import signature

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mtrl_sklearn.datasets import make_patch_tasks
from mtrl_sklearn.metrics import (
    feature_alignment,
    principal_angles,
    signal_to_noise,
    subspace_distance,
)


def rotated_plane(angles, n_features, seed=0):
    """Two sets of orthonormal rows with given principal angles."""
    k = len(angles)
    Q = np.linalg.qr(np.random.default_rng(seed).normal(size=(n_features, 2 * k)))[0].T
    A = Q[:k]
    B = np.cos(angles)[:, None] * A + np.sin(angles)[:, None] * Q[k:]
    return A, B


def test_principal_angles_of_known_subspaces():
    angles = np.array([1e-3, 0.3, 1.2])
    A, B = rotated_plane(angles, 8)
    assert_allclose(principal_angles(A, B), angles, rtol=1e-6)
    assert_allclose(subspace_distance(A, B), np.sin(1.2))
    assert_allclose(principal_angles(A, A), 0, atol=1e-12)
    assert isinstance(subspace_distance(A, B), float)


def test_principal_angles_do_not_depend_on_the_basis():
    A, B = rotated_plane(np.array([0.2, 0.7, 1.4]), 9)
    mix_a, mix_b = np.random.default_rng(1).normal(size=(2, 3, 3))
    expected = principal_angles(A, B)
    assert_allclose(principal_angles(mix_a @ A, 100 * mix_b @ B), expected)
    assert_allclose(principal_angles(B, A), expected)
    assert_allclose(principal_angles(np.vstack([A, A[0] + A[1]]), B), expected)
    assert_allclose(subspace_distance(mix_a @ A, B), np.sin(1.4))


def test_principal_angles_of_different_dimensions():
    line, plane = [[1.0, 0, 1]], [[1.0, 0, 0], [0, 1, 0]]
    assert_allclose(principal_angles(line, plane), [np.pi / 4])
    assert_allclose(principal_angles(plane, line), [np.pi / 4])
    assert subspace_distance([[1.0, 2, 0]], plane) == pytest.approx(0, abs=1e-12)
    assert subspace_distance([[0, 0, 3.0]], plane) == 1


@pytest.mark.parametrize("function", [principal_angles, subspace_distance])
@pytest.mark.parametrize(
    ("A", "B", "message"),
    [
        ([[1, 0]], [[1, 0, 0]], "A has 2 features and B has 3"),
        ([[1, 0]], [[np.nan, 0]], "B contains NaN"),
        ([[np.inf, 0]], [[1, 0]], "A contains infinity"),
        ([[1, 0], [0, 0]], [[1, 0]], r"A has 1 zero rows of 2.*Drop them"),
        ([[1, 0]], [[0, 0]], r"B has 1 zero rows of 1"),
        (np.empty((0, 2)), [[1, 0]], "0 sample"),
        ([1, 0], [[1, 0]], "Expected 2D array"),
    ],
)
def test_principal_angle_errors(function, A, B, message):
    with pytest.raises(ValueError, match=message):
        function(A, B)


@pytest.fixture
def filters():
    return np.random.default_rng(0).normal(size=(7, 12))


def test_feature_alignment_is_the_largest_cosine(filters):
    directions = np.random.default_rng(1).normal(size=(4, 12))
    expected = [
        max(w @ v / np.sqrt((w @ w) * (v @ v)) for w in filters) for v in directions
    ]
    assert_allclose(feature_alignment(filters, directions), expected)
    for v, cosine in zip(directions, expected):
        single = feature_alignment(filters, v)
        assert isinstance(single, float)
        assert single == pytest.approx(cosine)
    assert feature_alignment(filters.tolist(), directions.tolist()).shape == (4,)


def test_feature_alignment_does_not_depend_on_lengths_and_order(filters):
    rng = np.random.default_rng(1)
    directions = rng.normal(size=(4, 12))
    expected = feature_alignment(filters, directions)
    scales = rng.uniform(1, 20, size=(7, 1))
    assert_allclose(feature_alignment(scales * filters, directions), expected)
    assert_allclose(feature_alignment(filters[::-1], 1e-5 * directions), expected)
    assert_allclose(feature_alignment(filters, directions[::-1]), expected[::-1])


def test_feature_alignment_has_a_sign(filters):
    assert_allclose(feature_alignment(filters, filters), 1)
    assert feature_alignment(filters, filters).max() <= 1
    assert_allclose(feature_alignment(filters[:1], -filters[:1]), -1)
    both = np.vstack([filters[:1], -filters[:1]])
    assert_allclose(feature_alignment(both, -filters[:1]), 1)


def test_silent_filters_are_aligned_with_nothing(filters):
    silent = np.zeros((1, 12))
    assert feature_alignment(silent, filters[0]) == 0
    assert feature_alignment(np.vstack([filters[:1], silent]), -filters[0]) == 0
    assert_allclose(feature_alignment(np.vstack([silent, filters]), filters), 1)
    faint = np.vstack([filters[0], 0.001 * filters[1]])
    assert feature_alignment(faint, filters[1]) < 0.9
    assert feature_alignment([[1, 0], [0, 0.001]], [0, 1]) == 0
    assert feature_alignment([[1, 0], [0, 0.1]], [0, 1]) == 1


def test_image_filters_are_flattened(filters):
    directions = np.random.default_rng(1).normal(size=(4, 12))
    expected = feature_alignment(filters, directions)
    images = filters.reshape(7, 3, 2, 2)
    assert_allclose(feature_alignment(images, directions), expected)
    in_shape = directions.reshape(4, 3, 2, 2)
    assert_allclose(feature_alignment(images, in_shape), expected)
    assert_allclose(feature_alignment(images, directions[0]), expected[0])
    stacked = feature_alignment(filters, directions.reshape(2, 2, 12))
    assert_allclose(stacked, expected.reshape(2, 2))


@pytest.mark.parametrize(
    ("filters", "directions", "message"),
    [
        (
            [[1, 0]],
            [[1, 0, 0]],
            r"\(1, 3\), .* has \(2,\) weights .*\(n_directions, 2\)",
        ),
        ([[1, 0]], [1, 0, 0], r"directions has shape \(3,\), but filters"),
        (np.ones((2, 3, 4)), np.ones((2, 4, 3)), r"\(2, 4, 3\), .* \(3, 4\)"),
        ([[np.nan, 0]], [[1, 0]], "filters contains NaN"),
        ([[np.inf, 0]], [[1, 0]], "filters contains infinity"),
        ([[1, 0]], [np.nan, 0], "directions contains NaN"),
        ([[1, 0]], [[1, 0], [0, 0]], "directions has 1 zero rows of 2"),
        ([[1, 0]], [0, 0], "directions has 1 zero rows of 1"),
        ([1, 0], [[1, 0]], "Expected 2D array"),
        (np.empty((0, 2)), [[1, 0]], "0 sample"),
    ],
)
def test_feature_alignment_errors(filters, directions, message):
    with pytest.raises(ValueError, match=message):
        feature_alignment(filters, directions)


def test_signal_to_noise_formula():
    shared, specific = signal_to_noise(
        40, 5, shared_fraction=0.25, shared_strength=0.5, noise_norm=2, power=2
    )
    assert shared == pytest.approx(40 * 5 * 0.25 / 16)
    assert specific == pytest.approx(40 * 0.75 / 4)
    assert isinstance(shared, float)


def test_signal_to_noise_counts_rows_of_the_shared_feature_only_together():
    one, many = signal_to_noise(60), signal_to_noise(60, 16)
    assert many.shared == pytest.approx(16 * one.shared)
    assert many.specific == one.specific
    pooled = signal_to_noise(16 * 60)  # one task with all rows
    assert pooled.shared == pytest.approx(many.shared)
    assert signal_to_noise(60, shared_fraction=0).shared == 0
    assert signal_to_noise(60, shared_fraction=1).specific == 0
    equal = signal_to_noise(60, shared_strength=1)  # p = 1/2: both alike
    assert equal.shared == pytest.approx(equal.specific)
    for noise_norm in (0.5, 3):  # strengths matter relative to the noise
        scaled = signal_to_noise(
            60, shared_strength=0.35 * noise_norm, noise_norm=noise_norm
        )
        assert scaled.shared == pytest.approx(30 * 0.35**3)


def test_signal_to_noise_has_the_defaults_of_the_data():
    data = signature(make_patch_tasks).parameters
    for name, parameter in signature(signal_to_noise).parameters.items():
        if name in data and parameter.kind is parameter.KEYWORD_ONLY:
            assert parameter.default == data[name].default


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_samples_per_task": 0}, "'n_samples_per_task' parameter .* Got 0"),
        ({"n_tasks": 1.5}, "'n_tasks' parameter .* Got 1.5"),
        ({"shared_fraction": 1.1}, "'shared_fraction' parameter .* Got 1.1"),
        ({"shared_strength": 0}, "'shared_strength' parameter .* Got 0"),
        ({"noise_norm": 0}, "'noise_norm' parameter .* Got 0"),
        ({"noise_norm": np.inf}, "'noise_norm' parameter .* Got inf"),
        ({"power": 0.5}, "'power' parameter .* Got 0.5"),
        ({"power": np.nan}, "'power' parameter .* Got nan"),
    ],
)
def test_signal_to_noise_errors(parameters, message):
    with pytest.raises(ValueError, match=message):
        signal_to_noise(**{"n_samples_per_task": 10, **parameters})
