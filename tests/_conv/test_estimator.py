"""What ConvMultiTaskClassifier fits, and the heads of tasks."""

import numpy as np
import pytest
import torch
from conv_cases import HEADS, NETWORK, SOLVERS, images_of_bars, make, rows_of_patches
from sklearn.base import is_classifier
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d, conv1d, conv2d

from mtrl_sklearn import ConvMultiTaskClassifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def data():
    return rows_of_patches()


@pytest.fixture(scope="module")
def images():
    return images_of_bars()


# What is fitted


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("head", HEADS)
def test_fitted_attributes_have_the_documented_shapes(data, head, solver, dtype):
    X, y, tasks = data
    model = make(head=head, solver=solver).fit(X.astype(dtype), y, tasks)
    heads = (4,) if head == "per_task" else ()
    shapes = {
        "filters_": (12, 12),
        "biases_": (12,),
        "head_coef_": (*heads, 1, 12),
        "head_intercept_": (*heads, 1),
        "loss_curve_": (15,),
        "classes_": (2,),
        "tasks_": (4,),
    }
    for name, shape in shapes.items():
        assert getattr(model, name).shape == shape, name
    for name in NETWORK:
        assert getattr(model, name).dtype == dtype, name
    assert type(model.scale_) is float
    assert (model.n_iter_, model.solver_, model.power_) == (15, solver, 3.0)
    assert (model.input_shape_, model.n_features_in_) == ((3, 12), 36)
    assert (model.kernel_size_, model.stride_) == ((1,), (1,))
    assert model.pooling_ == "sum"
    assert model.classes_.tolist() == [-1, 1]
    assert model.tasks_.tolist() == ["ape", "bat", "cat", "dog"]
    features = model.transform(X.astype(dtype))
    assert features.shape == (80, 12)
    assert features.dtype == dtype
    assert model.decision_function(X, tasks).shape == (80,)
    assert model.predict_proba(X, tasks).shape == (80, 2)
    assert len(model.get_feature_names_out()) == 12


@pytest.mark.parametrize("head", HEADS)
def test_shapes_for_images_of_three_classes(images, head):
    X, y, tasks = images
    model = make(head=head, max_iter=3).fit(X, y, tasks)
    heads = (2,) if head == "per_task" else ()
    assert model.filters_.shape == (12, 2, 3, 3)
    assert model.head_coef_.shape == (*heads, 3, 12 * 16)
    assert model.head_intercept_.shape == (*heads, 3)
    assert (model.solver_, model.power_, model.pooling_) == ("adam", 1.0, (4, 4))
    assert model.transform(X).shape == (90, 12 * 16)
    assert model.transform(X).dtype == np.float32
    assert model.decision_function(X, tasks).shape == (90, 3)
    assert model.predict_proba(X, tasks).shape == (90, 3)
    names = model.get_feature_names_out()
    assert names.shape == (192,)
    assert names[-1] == "convmultitaskclassifier191"


@pytest.mark.parametrize(
    ("parameters", "shape"),
    [
        ({}, (12, 5)),
        ({"kernel_size": 7}, (12, 7)),
        ({"input_shape": (3, 12)}, (12, 12)),
        ({"input_shape": (3, 12), "kernel_size": 2}, (12, 2, 12)),
        ({"input_shape": (1, 4, 9)}, (12, 1, 3, 3)),
        ({"input_shape": (4, 3, 3), "kernel_size": (2, 1)}, (12, 4, 2, 1)),
    ],
)
def test_filters_have_the_shape_of_a_patch(data, parameters, shape):
    X, y, _ = data
    model = make(max_iter=2, **parameters).fit(X.reshape(80, 36), y)
    assert model.filters_.shape == shape
    assert model.input_shape_ == parameters.get("input_shape", (36,))


def test_auto_is_gd_for_few_patches_only(data):
    X, y, _ = data
    assert make(max_iter=1).fit(X, y).solver_ == "gd"
    assert make(max_iter=1).fit(X.reshape(80, 36), y).solver_ == "adam"
    many = np.zeros((5001, 4, 1), dtype=np.float32)
    labels = np.arange(5001) % 2
    assert make(max_iter=1).fit(many[:5000], labels[:5000]).solver_ == "gd"
    assert make(max_iter=1).fit(many, labels).solver_ == "adam"


@pytest.mark.parametrize(("n_rows", "n_epochs"), [(80, 200), (3000, 21), (9000, 10)])
def test_auto_is_about_five_hundred_updates_of_adam(n_rows, n_epochs):
    X, y = np.zeros((n_rows, 2), dtype=np.float32), np.arange(n_rows) % 2
    model = make(n_filters=2, max_iter="auto", tol=0.0, n_iter_no_change=10**6)
    assert model.fit(X, y).n_iter_ == n_epochs


def pooled_by_torch(model, X):
    """Features from the fitted attributes, by torch's own convolutions."""
    scaled, filters, biases = (
        torch.tensor(a) for a in (X / model.scale_, model.filters_, model.biases_)
    )
    if scaled.ndim == 4:
        responses = conv2d(scaled, filters, biases, model.stride_)
        pool = adaptive_avg_pool2d
    else:
        responses = conv1d(scaled[:, None], filters[:, None], biases, model.stride_)
        pool = adaptive_avg_pool1d
    planes = pool(responses.relu() ** model.power_, model.pooling_)
    return planes.flatten(2).mT.flatten(1).numpy()


@pytest.mark.parametrize("power", [1, 2.5, 3])
@pytest.mark.parametrize("head", HEADS)
def test_scores_are_what_the_attributes_say(data, head, power):
    X, y, tasks = data
    model = make(head=head, power=power).fit(X, y, tasks)
    inner = X / model.scale_ @ model.filters_.T + model.biases_
    features = (np.maximum(inner, 0) ** model.power_).sum(axis=1)
    np.testing.assert_allclose(model.transform(X), features, rtol=1e-10, atol=1e-12)
    coef, intercept = model.head_coef_, model.head_intercept_
    if head == "per_task":
        own = np.searchsorted(model.tasks_, tasks)
        scores = (features * coef[own, 0]).sum(axis=1) + intercept[own, 0]
    else:
        scores = features @ coef[0] + intercept
    np.testing.assert_allclose(
        model.decision_function(X, tasks), scores, rtol=1e-10, atol=1e-12
    )
    second = 1 / (1 + np.exp(-scores))
    probabilities = model.predict_proba(X, tasks)
    np.testing.assert_allclose(probabilities, np.c_[1 - second, second])
    predicted = model.predict(X, tasks)
    np.testing.assert_array_equal(predicted, np.where(scores > 0, 1, -1))
    assert model.score(X, y, tasks) == (predicted == y).mean()


@pytest.mark.parametrize("pooling", [1, (3, 2)])
@pytest.mark.parametrize("head", ["shared", "fixed"])
def test_scores_of_images_are_those_of_torch(images, head, pooling):
    X, y, tasks = images[0].astype(np.float64), *images[1:]
    settings = {"kernel_size": (4, 3), "stride": (1, 2), "pooling": pooling}
    model = make(head=head, max_iter=4, **settings).fit(X, y, tasks)
    features = pooled_by_torch(model, X)
    np.testing.assert_allclose(model.transform(X), features, rtol=1e-9, atol=1e-12)
    scores = features @ model.head_coef_.T + model.head_intercept_
    np.testing.assert_allclose(model.decision_function(X), scores, rtol=1e-9, atol=1e-9)
    odds = np.exp(scores)
    expected = odds / odds.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(X), expected)
    np.testing.assert_array_equal(model.predict(X), scores.argmax(axis=1))


def test_features_of_signals_are_those_of_torch(data):
    X, y, _ = data
    signals = X.reshape(80, 36)
    model = make(max_iter=3, kernel_size=6, power=2, pooling=4).fit(signals, y)
    np.testing.assert_allclose(
        model.transform(signals), pooled_by_torch(model, signals), rtol=1e-9
    )


def test_the_scale_is_that_of_a_patch(data):
    X, y, _ = data
    squares = (X**2).sum(axis=2)
    fixed = make(head="fixed").fit(X, y)
    assert fixed.scale_ == pytest.approx(np.sqrt(squares.mean()))
    centred = ((X - X.mean()) ** 2).sum(axis=2)
    trained = make(power=1).fit(X, y)
    assert trained.scale_ == pytest.approx(np.sqrt(centred.mean()))


def test_constant_inputs_have_no_scale():
    for value, n_rows in ((0.1, 20), (0.1, 200), (7.3, 12)):
        X = np.full((n_rows, 3, 8, 8), value)
        model = make().fit(X, np.arange(n_rows) % 2)
        assert model.scale_ == 1
        assert np.abs(model.biases_).max() < 100


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_fixed_head_counts_the_filters_of_each_class(data, n_classes, solver):
    X, y = data[0], np.arange(80) % n_classes
    model = make(head="fixed", solver=solver).fit(X, y)
    of_class = np.eye(n_classes).repeat(12 // n_classes, axis=1)
    expected = of_class[1:] - of_class[:1] if n_classes == 2 else of_class
    np.testing.assert_array_equal(model.head_coef_, expected)
    assert not model.head_intercept_.any()
    assert not model.biases_.any()


def test_it_is_a_classifier_and_a_transformer(data):
    model = make().fit(*data)
    assert is_classifier(model)
    X, y, tasks = data
    features = make().fit_transform(X, y, tasks=tasks)
    np.testing.assert_array_equal(features, model.transform(data[0]))


def test_it_learns_images(images):
    X, y, tasks = images
    for parameters in ({}, {"head": "per_task"}, {"head": "fixed", "solver": "gd"}):
        model = ConvMultiTaskClassifier(12, random_state=0, **parameters)
        model.fit(X[:60], y[:60], tasks[:60])
        assert model.score(X[60:], y[60:], tasks[60:]) > 0.9


# Heads of tasks


def test_heads_of_tasks_differ_and_rows_find_theirs(data):
    """Two tasks have opposite labels for the same inputs, which one head cannot fit."""
    X, y, _ = data
    X, y, tasks = np.r_[X, X], np.r_[y, -y], np.repeat(["same", "turned"], 80)
    settings = {"n_filters": 32, "max_iter": 200, "solver": "adam"}
    one = make(**settings).fit(X, y, tasks)
    many = make(head="per_task", **settings).fit(X, y, tasks)
    assert one.score(X, y) == 0.5
    assert many.score(X, y, tasks) > 0.9
    order = np.random.default_rng(0).permutation(160)
    np.testing.assert_array_equal(
        many.predict(X[order], tasks[order]), many.predict(X, tasks)[order]
    )
    np.testing.assert_array_equal(
        many.predict(X[:5], ["turned"] * 5), -many.predict(X[:5], ["same"] * 5)
    )


@pytest.mark.parametrize("method", ["predict", "predict_proba", "decision_function"])
def test_heads_of_tasks_need_ids_that_are_known(data, method):
    X, y, tasks = data
    model = make(head="per_task").fit(X, y, tasks)
    predict = getattr(model, method)
    known = r"4 \('ape', 'bat', 'cat', 'dog'\)"
    with pytest.raises(ValueError, match=rf"needs tasks.*Pass tasks=.*{known}"):
        predict(X)
    strange = np.where(np.arange(80) < 3, ["eel", "fox", "eel"][0], tasks)
    with pytest.raises(ValueError, match=rf"without a head: 1 \('eel'\).*{known}"):
        predict(X, strange)
    with pytest.raises(ValueError, match=rf"without a head: 1 \(3\).*{known}"):
        predict(X, [3] * 80)
    with pytest.raises(ValueError, match="inconsistent"):
        predict(X, tasks[:5])


def test_score_needs_known_ids_too(data):
    X, y, tasks = data
    model = make(head="per_task").fit(X, y, tasks)
    with pytest.raises(ValueError, match="needs tasks"):
        model.score(X, y)
    with pytest.raises(ValueError, match=r"without a head: 1 \('eel'\)"):
        model.score(X, y, ["eel"] * 80)


@pytest.mark.parametrize("tasks", [None, ["only"] * 80])
def test_a_single_task_needs_no_ids(data, tasks):
    X, y, _ = data
    model = make(head="per_task").fit(X, y, tasks)
    assert model.tasks_.tolist() == ([0] if tasks is None else ["only"])
    assert model.predict(X).shape == (80,)
    np.testing.assert_array_equal(model.predict(X), model.predict(X, tasks))


@pytest.mark.parametrize("head", ["shared", "fixed"])
def test_one_head_serves_sources_that_fit_did_not_see(data, head):
    X, y, tasks = data
    model = make(head=head).fit(X, y, tasks)
    np.testing.assert_array_equal(model.predict(X), model.predict(X, ["eel"] * 80))
    assert model.score(X, y, [9] * 80) == model.score(X, y)
