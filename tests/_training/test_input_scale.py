"""The scale of inputs waits for rows that vary, however many calls that takes."""

import pickle

import numpy as np
import pytest
from scipy import sparse

from mtrl_sklearn import (
    ConvMultiTaskClassifier,
    MultiTaskReLURepresentation,
    load,
    save,
)
from mtrl_sklearn._conv.input_scale import patch_statistics
from mtrl_sklearn._conv.patches import make_patch_grid
from mtrl_sklearn._relu.input_scale import input_statistics

rng = np.random.default_rng(0)
X = rng.standard_normal((90, 5)) + 3
Y = (X[:, :3] + X[:, 1:4] > 6).astype(float)
ALGORITHMS = ["alternating", "joint", "one_step"]


def relu(algorithm, **parameters):
    parameters = {"n_components": None, "dropout": 0.0, "batch_size": 30} | parameters
    return MultiTaskReLURepresentation(
        16, algorithm=algorithm, random_state=0, **parameters
    )


def by_pickle(model, path):
    return pickle.loads(pickle.dumps(model))


def by_file(model, path):
    save(model, path / "model")
    return load(path / "model")


def of_state(model):
    return model._state_["input_mean"], model._state_["input_scale"]


@pytest.mark.parametrize("again", [lambda model, path: model, by_pickle, by_file])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_batches_of_one_row_until_rows_vary(algorithm, again, tmp_path):
    model = relu(algorithm)
    for k in (0, 0):  # the same row twice
        model.partial_fit(X[[k]], Y[[k]], classes=[0, 1])
        model = again(model, tmp_path)
    model.partial_fit(X[:60], Y[:60])
    rows = np.r_[0, 0, 0:60]
    mean, scale, _ = input_statistics(X[rows], np.ones((62, 1), dtype=np.int8))
    # rows of tasks that have shown one class are counted once, others by their labels
    np.testing.assert_allclose(of_state(model)[0], mean, atol=0.02)
    assert of_state(model)[1] == pytest.approx(scale, rel=0.02)
    fixed = of_state(model)
    model = again(model, tmp_path).partial_fit(100 * X, Y)
    np.testing.assert_array_equal(of_state(model)[0], fixed[0])
    assert of_state(model)[1] == fixed[1]


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_two_calls_of_one_row_have_the_statistics_of_both(form):
    """Also where no call by itself shows rows that vary."""
    model = relu("joint")
    for k in (0, 1):
        model.partial_fit(form(X[[k]]), Y[[k]], classes=[0, 1])
    mean, scale, _ = input_statistics(X[:2], np.ones((2, 1), dtype=np.int8))
    np.testing.assert_allclose(of_state(model)[0], mean, rtol=1e-12)
    assert of_state(model)[1] == pytest.approx(scale, rel=1e-12)


@pytest.mark.parametrize("first", [X[:1], np.repeat(X[:1], 3, axis=0)])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("unit", [2.0**-20, 2.0**20])
def test_the_unit_of_inputs_does_not_matter(algorithm, first, unit):
    """A power of two changes no bit of the weights, whatever the first rows are."""
    models = []
    for factor in (1.0, unit):
        model = relu(algorithm)
        model.partial_fit(factor * first, Y[: len(first)], classes=[0, 1])
        models.append(model.partial_fit(factor * X, Y))
    plain, scaled = models
    np.testing.assert_allclose(
        scaled.hidden_weights_ * unit, plain.hidden_weights_, rtol=1e-6, atol=1e-9
    )
    np.testing.assert_allclose(
        scaled.decision_function(unit * X), plain.decision_function(X), rtol=1e-6
    )
    assert plain.score(X, Y) > 0.8


def test_rows_of_scale_one_are_not_taken_for_constant_ones():
    signs = np.array([[1.0, -1], [-1, 1]]) * 4  # mean squared norm 32
    model = relu("joint").partial_fit(signs, [[0, 1], [1, 0]])
    assert of_state(model)[1] == 1
    model.partial_fit(7 * signs + 1, [[0, 1], [1, 0]])
    assert of_state(model)[1] == 1
    np.testing.assert_array_equal(of_state(model)[0], 0)


@pytest.mark.parametrize("power", [1, 3])
@pytest.mark.parametrize("solver", ["adam", "gd"])
def test_blank_images_have_no_scale(solver, power, tmp_path):
    images = 50 + 100 * rng.standard_normal((40, 1, 6, 6))
    blank = np.full((2, 1, 6, 6), 50.0 if power == 1 else 0.0)
    model = ConvMultiTaskClassifier(
        4, solver=solver, kernel_size=3, power=power, random_state=0
    )
    model.partial_fit(blank, [0, 1])
    model = by_file(model, tmp_path)
    model.partial_fit(images, np.arange(40) % 2)
    grid = make_patch_grid((1, 6, 6), 3, None, "auto")
    rows = np.concatenate([blank, images]).reshape(42, 36)
    weights = np.full(42, 1 / 42)
    mean, scale, _ = patch_statistics(rows, weights, grid, centre=power == 1)
    assert float(of_state(model)[0]) == pytest.approx(mean, rel=1e-6)
    assert of_state(model)[1] == pytest.approx(scale, rel=1e-6)


@pytest.mark.parametrize(
    "model",
    [relu("joint"), ConvMultiTaskClassifier(4, solver="adam", random_state=0)],
    ids=["relu", "conv"],
)
def test_partial_fit_tells_of_failures(model):
    rows, labels = (X, Y) if hasattr(model, "n_hidden") else (X[:, :4], Y[:, 0])
    model.set_params(learning_rate=100.0, weight_decay=0.0, batch_size=30)
    with pytest.warns(match="loss has exploded"):
        model.partial_fit(rows, labels)
