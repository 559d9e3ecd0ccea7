"""Features that are the same in all rows take no part, however large they are."""

import numpy as np
import pytest
from relu_cases import quick
from scipy import sparse

from mtrl_sklearn import ConvMultiTaskClassifier, MultiTaskReLURepresentation

rng = np.random.default_rng(0)
X = rng.integers(-50, 50, size=(600, 8))
Y = (X @ rng.standard_normal((8, 4)) > 0) * 1.0


def relu(algorithm):
    return MultiTaskReLURepresentation(
        32,
        algorithm=algorithm,
        n_components=None,
        max_iter=1 if algorithm == "one_step" else 20,
        random_state=0,
    )


def fit(model, Z, by_parts):
    if not by_parts:
        return model.fit(Z[:300], Y[:300])
    for part in (slice(0, 150), slice(150, 300), slice(0, 150)):
        model.partial_fit(Z[part], Y[part])
    return model


KINDS = {
    "int64": lambda Z: Z,
    "float32": lambda Z: Z.astype(np.float32),
    "float64": lambda Z: Z.astype(np.float64),
    "CSR": lambda Z: sparse.csr_array(Z.astype(np.float32)),
}


@quick
@pytest.mark.parametrize("by_parts", [False, True])
@pytest.mark.parametrize("algorithm", ["alternating", "joint", "one_step"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_timestamp_changes_nothing(kind, algorithm, by_parts):
    """The weights of the other features are those without it; its own are 0."""
    models = []
    for constant in (0, 1_790_000_000_000):
        Z = KINDS[kind](np.c_[X[:, :3], np.full(len(X), constant), X[:, 3:]])
        model = fit(relu(algorithm), Z, by_parts)
        models.append((model, model.decision_function(Z[300:])))
    (_, expected), (stamped, found) = models
    if algorithm != "one_step":  # whose start has no weights that stay
        assert not stamped.hidden_weights_[:, 3].any()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert stamped.score(Z[300:], Y[300:]) > 0.9


@quick
@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize("offset", [0, 1e12])
def test_the_scale_of_the_others_does_not_matter(scale, offset):
    Z = np.c_[scale * X, np.full(len(X), offset)].astype(np.float32)
    model = relu("alternating").fit(Z[:300], Y[:300])
    plain_rows = np.c_[X, np.zeros(len(X))].astype(np.float32)
    plain = relu("alternating").fit(plain_rows[:300], Y[:300])
    np.testing.assert_allclose(
        model.decision_function(Z[300:]),
        plain.decision_function(plain_rows[300:]),
        rtol=1e-3,
        atol=1e-3,
    )


@quick
def test_float64_networks_predict_float32_rows():
    Z = np.c_[X, np.full(len(X), 1e8)].astype(np.float64)
    model = relu("joint").fit(Z[:300], Y[:300])
    np.testing.assert_allclose(
        model.decision_function(Z[300:].astype(np.float32)),
        model.decision_function(Z[300:]),
        rtol=1e-4,
        atol=1e-4,
    )


@quick
def test_a_cut_leaves_constants_without_weight():
    """In the midst of the others, where singular vectors are not exactly 0."""
    Z = np.insert(X, 3, 10**12, axis=1).astype(np.float32)
    model = relu("joint").set_params(n_components=4).fit(Z[:300], Y[:300])
    assert not model.hidden_weights_[:, 3].any()
    assert not model.components_[:, 3].any()
    assert model.score(Z[300:], Y[300:]) > 0.9


@quick
def test_a_column_that_varies_later_is_learned():
    Z = X.astype(np.float32)
    first = Z[:100].copy()
    first[:, 0] = 1e5  # heavy: it starts without weight
    model = relu("joint").set_params(learning_rate=1e-2)
    model.partial_fit(first, Y[:100])
    assert not model.hidden_weights_[:, 0].any()
    model.partial_fit(Z + np.eye(8, dtype=np.float32)[0] * 1e5, Y)
    assert model.hidden_weights_[:, 0].any()


@quick
@pytest.mark.parametrize("by_parts", [False, True])
@pytest.mark.parametrize("solver", ["gd", "adam"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_channel_changes_nothing(solver, dtype, by_parts):
    images = rng_images().astype(dtype)
    y = np.arange(len(images)) % 2
    images[y == 1, :, 2:4] += 2
    models = []
    for value in (0.0, 1.79e12):
        channel = np.full_like(images, value)
        both = np.concatenate([images, channel], axis=1)
        model = ConvMultiTaskClassifier(
            8, solver=solver, power=1, kernel_size=3, max_iter=30, random_state=0
        )
        if by_parts:
            for _ in range(8):
                model.partial_fit(both[:80], y[:80])
        else:
            model.fit(both[:80], y[:80])
        models.append((model.score(both[80:], y[80:]), model))
    (plain, _), (found, model) = models
    assert not model.filters_[:, 1].any()
    assert found >= plain - 0.05
    assert found > 0.8


def rng_images():
    return np.random.default_rng(1).standard_normal((160, 1, 6, 6))
