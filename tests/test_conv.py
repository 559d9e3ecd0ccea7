"""The public contract of ConvMultiTaskClassifier."""

import pickle
import random
import warnings

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import skops.io
import torch
from sklearn import config_context
from sklearn.base import clone, is_classifier
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    cross_val_predict,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from skorch.callbacks import Callback
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d, conv1d, conv2d

from mtrl_sklearn import ConvMultiTaskClassifier, _conv_descent
from mtrl_sklearn.datasets import make_patch_tasks

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

HEADS = ["shared", "fixed", "per_task"]
SOLVERS = ["gd", "adam"]
NETWORK = ["filters_", "biases_", "head_coef_", "head_intercept_"]
FITTED_ARRAYS = [*NETWORK, "loss_curve_"]
STEP = "convmultitaskclassifier"


@pytest.fixture(scope="module")
def data():
    """Rows of 3 patches of 12 features, with 2 classes, of 4 tasks with names."""
    X, y, tasks, *_ = make_patch_tasks(
        20, 4, n_features=12, n_patches=3, noise_norm=1, random_state=0
    )
    return X, y, np.array(["ape", "bat", "cat", "dog"])[tasks]


@pytest.fixture(scope="module")
def images():
    """Images of 2 channels with a bright bar in one of 3 places, of 2 tasks."""
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    X = rng.integers(0, 80, (90, 2, 9, 8))
    for c in range(3):
        X[y == c, c % 2, 1 + 2 * c : 3 + 2 * c, 2:6] += 150
    return X.astype(np.uint8), y, rng.permutation(np.arange(90) % 2)


def make(**parameters):
    defaults = {"n_filters": 12, "max_iter": 15, "random_state": 0}
    return ConvMultiTaskClassifier(**{**defaults, **parameters})


def without_chance(**parameters):
    """A fit without any randomness but the initial weights."""
    return make(solver="gd", **parameters)


def assert_same_network(first, second, rtol=0.0, atol=0.0):
    for name in NETWORK:
        a, b = getattr(first, name), getattr(second, name)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=name)


def fitted(model):
    return {name: value for name, value in vars(model).items() if name[-1] == "_"}


def assert_untouched(model, before):
    after = fitted(model)
    assert before.keys() == after.keys()
    assert all(before[name] is after[name] for name in before)


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


# What does not matter


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("head", HEADS)
def test_fits_repeat_bit_for_bit(data, head, solver):
    torch.manual_seed(1)
    first = make(head=head, solver=solver).fit(*data)
    torch.manual_seed(2)
    second = make(head=head, solver=solver).fit(*data)
    other = make(head=head, solver=solver, random_state=1).fit(*data)
    for name in FITTED_ARRAYS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert not np.allclose(first.filters_, other.filters_)
    generator = make(head=head, solver=solver, random_state=np.random.RandomState(0))
    assert_same_network(generator.fit(*data), first)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
def test_global_random_state_is_not_touched(data, solver, early_stopping):
    def seed_all():
        torch.manual_seed(0)
        random.seed(0)
        check_random_state(None).seed(0)  # numpy's global state

    def draw_all():
        return torch.rand(1), random.random(), check_random_state(None).uniform()

    seed_all()
    expected = draw_all()
    seed_all()
    make(solver=solver, early_stopping=early_stopping).fit(*data)
    assert draw_all() == expected


ENCODINGS = {
    "floats": ([-1.0, 1.0], np.array),
    "fractions": ([0.25, 0.75], np.array),
    "unsigned": ([3, 200], lambda y: np.array(y, dtype=np.uint8)),
    "booleans": ([False, True], np.array),
    "strings": (["no", "yes"], np.array),
    "list": (["no", "yes"], list),
    "objects": (["no", "yes"], lambda y: np.array(y, dtype=object)),
    "large numbers": ([2**40, 2**40 + 1], np.array),
    "pandas": (["no", "yes"], lambda y: pd.Series(y, index=range(5, 85))),
    "pandas Int64": ([4, 7], lambda y: pd.Series(y, dtype="Int64")),
    "pandas categories": (["no", "yes"], lambda y: pd.Series(y, dtype="category")),
    "polars": (["no", "yes"], pl.Series),
}


@pytest.mark.parametrize(("names", "form"), ENCODINGS.values(), ids=ENCODINGS.keys())
def test_any_encoding_of_labels_gives_the_same_network(data, names, form):
    X, y, tasks = data
    base = make(max_iter=3).fit(X, y, tasks)
    labels = form([names[(label + 1) // 2] for label in y])
    model = make(max_iter=3).fit(X, labels, tasks)
    assert_same_network(model, base)
    assert model.classes_.tolist() == names
    predicted = model.predict(X)
    assert predicted.dtype == model.classes_.dtype
    expected = np.array(names)[(base.predict(X) + 1) // 2]
    np.testing.assert_array_equal(predicted, expected)
    assert model.score(X, labels) == base.score(X, y)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("names", [[-3, 0, 7], ["a", "b", "c"], [0.0, 1.0, 2.0]])
def test_any_encoding_of_three_classes_gives_the_same_network(images, head, names):
    X, y, tasks = images
    base = make(head=head, max_iter=2).fit(X, y, tasks)
    model = make(head=head, max_iter=2).fit(X, np.array(names)[y], tasks)
    assert_same_network(model, base)
    assert model.classes_.tolist() == names
    expected = np.array(names)[base.predict(X, tasks)]
    np.testing.assert_array_equal(model.predict(X, tasks), expected)


@pytest.mark.parametrize("head", HEADS)
def test_names_and_order_of_tasks_do_not_matter(data, head):
    X, y, tasks = data
    base = without_chance(head=head).fit(X, y, tasks)
    numbers = {"ape": 30, "bat": 10, "cat": 40, "dog": 20}
    renamed = [numbers[task] for task in tasks]
    model = without_chance(head=head).fit(X, y, renamed)
    assert model.tasks_.tolist() == [10, 20, 30, 40]
    np.testing.assert_allclose(
        model.decision_function(X, renamed),
        base.decision_function(X, tasks),
        rtol=1e-9,
        atol=1e-12,
    )
    np.testing.assert_allclose(model.filters_, base.filters_, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "form", [list, lambda t: np.array(t, dtype=object), pd.Series, pl.Series]
)
def test_tasks_of_any_form(data, form):
    X, y, tasks = data
    base = make(head="per_task", max_iter=3).fit(X, y, tasks)
    model = make(head="per_task", max_iter=3).fit(X, y, form(tasks.tolist()))
    assert_same_network(model, base)
    assert model.tasks_.tolist() == base.tasks_.tolist()
    np.testing.assert_array_equal(
        model.predict(X, form(tasks.tolist())), base.predict(X, tasks)
    )


@pytest.mark.parametrize("power", [1, 3])
@pytest.mark.parametrize("head", HEADS)
def test_order_of_rows_does_not_matter_to_gd(data, head, power):
    X, y, tasks = data
    order = np.random.default_rng(0).permutation(80)
    base = without_chance(head=head, power=power).fit(X, y, tasks)
    model = without_chance(head=head, power=power)
    model.fit(X[order], y[order], tasks[order])
    assert_same_network(model, base, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("power", [1, 3])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_power_of_two_times_the_inputs_is_the_same_fit(data, solver, power):
    X, y, tasks = data
    base = make(solver=solver, power=power).fit(X, y, tasks)
    for factor in (2.0**-40, 8.0, 2.0**300):
        model = make(solver=solver, power=power).fit(factor * X, y, tasks)
        assert model.scale_ == factor * base.scale_
        assert_same_network(model, base)
        np.testing.assert_array_equal(
            model.decision_function(factor * X), base.decision_function(X)
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("factor", [1e-25, 1e-12, 1e12, 1e25])
def test_inputs_of_extreme_scale_are_learned_as_well(data, solver, dtype, factor):
    X, y, tasks = data[0].astype(dtype), *data[1:]
    expected = make(solver=solver).fit(X, y, tasks).decision_function(X)
    scaled = X * dtype(factor)
    model = make(solver=solver).fit(scaled, y, tasks)
    scores = model.decision_function(scaled)
    np.testing.assert_allclose(scores, expected, rtol=0.01, atol=1e-4)


def test_an_offset_of_inputs_does_not_matter_to_the_plain_relu(data):
    X, y, tasks = data
    base = without_chance(power=1).fit(X, y, tasks)
    model = without_chance(power=1).fit(X + 10, y, tasks)
    np.testing.assert_allclose(
        model.decision_function(X + 10), base.decision_function(X), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("head", HEADS)
def test_both_precisions_agree(data, head):
    X, y, tasks = data
    double = without_chance(head=head).fit(X, y, tasks)
    single = without_chance(head=head).fit(X.astype(np.float32), y, tasks)
    assert_same_network(single, double, rtol=1e-3, atol=1e-5)
    scores = single.decision_function(X.astype(np.float32), tasks)
    assert scores.dtype == np.float32
    expected = double.decision_function(X, tasks)
    np.testing.assert_allclose(scores, expected, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint16])
def test_integers_are_read_as_float32(images, dtype):
    X, y, tasks = images
    base = make(max_iter=2).fit(X.astype(np.float32), y, tasks)
    model = make(max_iter=2).fit(X.astype(dtype), y, tasks)
    assert_same_network(model, base)
    np.testing.assert_array_equal(
        model.decision_function(X.astype(dtype)),
        base.decision_function(X.astype(np.float32)),
    )


def test_booleans_and_small_floats_become_float32_and_lists_float64(data):
    X, y, _ = data
    for rows in (X > 0, X.astype(np.float16), X.astype(">f4")):
        assert make(max_iter=2).fit(rows, y).transform(rows).dtype == np.float32
    model = make(max_iter=2).fit(X.tolist(), y.tolist())
    assert model.filters_.dtype == np.float64
    assert_same_network(model, make(max_iter=2).fit(X, y))


def layouts(X):
    shape, rows = X.shape[1:], X.reshape(len(X), -1)
    return {
        "rows": (rows, shape),
        "shape as a list": (rows, list(shape)),
        "shape twice": (X, shape),
        "Fortran order": (np.asfortranarray(X), None),
        "read-only": (np.frombuffer(X.tobytes(), X.dtype).reshape(X.shape), None),
        "tensor": (torch.from_numpy(X), None),
    }


@pytest.mark.parametrize("layout", layouts(np.zeros((1, 1))))
@pytest.mark.parametrize("kind", ["patches", "images"])
def test_layout_of_inputs_does_not_matter(data, images, kind, layout):
    X, y, tasks = data if kind == "patches" else images
    base = make(max_iter=2).fit(X, y, tasks)
    inputs, shape = layouts(X)[layout]
    model = make(max_iter=2, input_shape=shape).fit(inputs, y, tasks)
    assert_same_network(model, base)
    assert model.input_shape_ == X.shape[1:]
    expected = base.predict(X)
    for predicted in (model.predict(inputs), model.predict(X), base.predict(inputs)):
        np.testing.assert_array_equal(predicted, expected)


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_data_frames_of_rows(data, library, dtype):
    X, y, tasks = data[0].astype(dtype), *data[1:]
    base = make(max_iter=2).fit(X, y, tasks)
    names = [f"x{k}" for k in range(36)]
    frame = {"pandas": pd.DataFrame, "polars": pl.DataFrame}[library](
        dict(zip(names, X.reshape(80, 36).T))
    )
    series = {"pandas": pd.Series, "polars": pl.Series}[library]
    model = make(max_iter=2, input_shape=(3, 12))
    model.fit(frame, series(y), tasks=series(tasks))
    assert_same_network(model, base)
    assert model.filters_.dtype == dtype
    assert model.feature_names_in_.tolist() == names
    np.testing.assert_array_equal(model.predict(frame), base.predict(X))
    assert model.score(frame, series(y)) == base.score(X, y)


def test_inputs_are_not_changed(data, images):
    for X, y, tasks in (data, images):
        before = [a.copy() for a in (X, y, tasks)]
        make(max_iter=2).fit(X, y, tasks).predict(X)
        for a, b in zip(before, (X, y, tasks)):
            np.testing.assert_array_equal(a, b)


# Weights


@pytest.mark.parametrize("task_weight", ["observed", "equal"])
@pytest.mark.parametrize("power", [1, 3])
@pytest.mark.parametrize("head", HEADS)
def test_weights_are_numbers_of_rows(data, head, power, task_weight):
    X, y, tasks = data
    counts = np.random.default_rng(0).integers(0, 4, 80)
    rows = np.repeat(np.arange(80), counts)
    settings = {"head": head, "power": power, "class_weight": "balanced"}
    if task_weight == "equal":
        settings["class_weight"] = {1: 3}
    weighted, repeated = (
        without_chance(task_weight=task_weight, **settings) for _ in range(2)
    )
    weighted.fit(X, y, tasks, sample_weight=counts)
    repeated.fit(X[rows], y[rows], tasks[rows])
    assert_same_network(weighted, repeated, rtol=1e-7, atol=1e-10)
    np.testing.assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-6)
    expected = repeated.score(X[rows], y[rows], tasks[rows])
    assert weighted.score(X, y, tasks, sample_weight=counts) == pytest.approx(expected)


@pytest.mark.parametrize("solver", SOLVERS)
def test_only_ratios_of_weights_matter(data, solver):
    weights = np.random.default_rng(0).random(80)
    base = make(solver=solver).fit(*data, sample_weight=weights)
    for factor in (1e-12, 4.0, 1e12):
        model = make(solver=solver).fit(*data, sample_weight=factor * weights)
        assert_same_network(model, base, rtol=1e-6, atol=1e-9)
    assert not np.allclose(make(solver=solver).fit(*data).filters_, base.filters_)


@pytest.mark.parametrize("solver", SOLVERS)
def test_rows_without_weight_have_no_influence(data, solver):
    X, y, tasks = data
    weights = np.where(np.arange(80) % 5, 1.0, 0.0)
    base = make(solver=solver).fit(X, y, tasks, sample_weight=weights)
    X_other, y_other = X.copy(), y.copy()
    X_other[::5] = X[::5, ::-1] / 2
    y_other[::5] *= -1
    model = make(solver=solver).fit(X_other, y_other, tasks, sample_weight=weights)
    assert_same_network(model, base)


def test_class_weight_is_a_weight_of_rows(data):
    X, y, tasks = data
    rows = np.r_[np.flatnonzero(y == 1), np.flatnonzero(y == -1)[:13]]
    X, y, tasks = X[rows], y[rows], tasks[rows]
    for class_weight in ("balanced", {1: 0.2}, {-1: 3, 1: 2}):
        by_class = without_chance(class_weight=class_weight).fit(X, y, tasks)
        weights = compute_sample_weight(class_weight, y)
        by_row = without_chance().fit(X, y, tasks, sample_weight=weights)
        assert_same_network(by_class, by_row, rtol=1e-7, atol=1e-10)
        assert not np.allclose(
            by_class.filters_, without_chance().fit(X, y, tasks).filters_
        )


def test_class_weight_takes_names_of_classes(data):
    X, y, tasks = data
    names = np.where(y > 0, "yes", "no")
    model = make(class_weight={"yes": 5}).fit(X, names, tasks)
    assert_same_network(model, make(class_weight={1: 5}).fit(X, y, tasks))


@pytest.mark.parametrize("power", [1, 3])
@pytest.mark.parametrize("head", HEADS)
def test_tasks_count_by_their_rows_unless_they_shall_be_equal(data, head, power):
    rows = np.r_[0:20, 20:28, 40:44]
    X, y, tasks = (a[rows] for a in data)
    sizes = np.repeat([20, 8, 4], [20, 8, 4])
    settings = {"head": head, "power": power}
    equal = without_chance(task_weight="equal", **settings).fit(X, y, tasks)
    by_row = without_chance(**settings).fit(X, y, tasks, sample_weight=1 / sizes)
    assert_same_network(equal, by_row, rtol=1e-7, atol=1e-10)
    default = without_chance(**settings).fit(X, y, tasks)
    ones = without_chance(**settings).fit(X, y, tasks, sample_weight=np.ones(32))
    assert_same_network(default, ones)
    assert not np.allclose(default.filters_, equal.filters_)


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


# Continuing


def test_warm_start_of_gd_continues_where_the_fit_stopped(data):
    for head in HEADS:
        once = make(head=head, max_iter=9).fit(*data)
        parts = make(head=head, max_iter=4, warm_start=True).fit(*data)
        parts = pickle.loads(pickle.dumps(parts)).set_params(max_iter=5).fit(*data)
        for name in FITTED_ARRAYS:
            np.testing.assert_array_equal(getattr(parts, name), getattr(once, name))
        assert parts.n_iter_ == 9
        assert parts.scale_ == once.scale_


def test_warm_start_of_adam_continues_where_the_fit_stopped(images):
    model = make(warm_start=True, max_iter=10).fit(*images)
    first = model.loss_curve_
    model.fit(*images)
    assert model.n_iter_ == 20
    np.testing.assert_array_equal(model.loss_curve_[:10], first)
    assert model.loss_curve_[10:].max() < first[0] / 2
    assert model.loss_curve_[-1] < first[-1]


@pytest.mark.parametrize("head", HEADS)
def test_partial_fits_of_gd_are_the_steps_of_a_fit(data, head):
    steps = make(head=head, max_iter="auto")
    for _ in range(6):
        steps.partial_fit(*data)
    fit = make(head=head, max_iter=6).fit(*data)
    for name in FITTED_ARRAYS:
        np.testing.assert_array_equal(getattr(steps, name), getattr(fit, name))
    assert steps.n_iter_ == 6


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("head", HEADS)
def test_partial_fit_continues_after_pickling(data, head, solver):
    X, y, tasks = data
    order = np.random.default_rng(0).permutation(80)
    straight, pickled = (make(head=head, solver=solver) for _ in range(2))
    for rows in (order[:50], order[50:], order[20:70]):
        batch = X[rows], y[rows], tasks[rows]
        straight.partial_fit(*batch)
        pickled = pickle.loads(pickle.dumps(pickled.partial_fit(*batch)))
    for name in FITTED_ARRAYS:
        np.testing.assert_array_equal(getattr(straight, name), getattr(pickled, name))
    assert straight.n_iter_ == 3
    first = make(head=head, solver=solver).partial_fit(
        X[order[:50]], y[order[:50]], tasks[order[:50]]
    )
    assert straight.scale_ == first.scale_


def test_partial_fit_over_batches_learns_images(images):
    X, y, tasks = images
    model = make(max_iter="auto")
    for _ in range(15):
        for rows in np.split(np.arange(90), 3):
            model.partial_fit(X[rows], y[rows], tasks[rows])
    assert model.score(X, y) > 0.9
    assert model.n_iter_ == 45


def test_partial_fit_of_other_floats_keeps_the_precision(data):
    X, y, tasks = data
    model = make().partial_fit(X.astype(np.float32), y, tasks).partial_fit(X, y, tasks)
    assert model.filters_.dtype == np.float32


@pytest.mark.parametrize("head", ["shared", "fixed"])
def test_new_tasks_may_come_later(data, head):
    X, y, tasks = data
    model = make(head=head).partial_fit(X[:40], y[:40], tasks[:40])
    assert model.tasks_.tolist() == ["ape", "bat"]
    model.partial_fit(X[40:], y[40:], tasks[40:])
    assert model.tasks_.tolist() == ["ape", "bat", "cat", "dog"]
    warm = make(head=head, warm_start=True).fit(X[40:], y[40:], tasks[40:])
    assert warm.fit(X[:40], y[:40], tasks[:40]).tasks_.tolist() == model.tasks_.tolist()


def test_new_tasks_may_not_come_later_where_each_has_its_head(data):
    X, y, tasks = data
    model = make(head="per_task").partial_fit(X[:40], y[:40], tasks[:40])
    before = fitted(model)
    with pytest.raises(
        ValueError, match=r"2 \('cat', 'dog'\); fitted on 2 \('ape', 'bat'\)"
    ):
        model.partial_fit(X[40:], y[40:], tasks[40:])
    assert_untouched(model, before)
    model.partial_fit(X[:20], y[:20], tasks[:20])
    assert model.tasks_.tolist() == ["ape", "bat"]


def test_partial_fit_takes_classes_that_the_first_batch_lacks(data):
    X, y, _ = data
    first = y == 1
    with pytest.raises(ValueError, match=r"1 class \(\[1\]\).*at least 2"):
        make().partial_fit(X[first], y[first])
    model = make().partial_fit(X[first], y[first], classes=[1, -1])
    assert model.classes_.tolist() == [-1, 1]
    assert_same_network(
        model, make().partial_fit(X[first], y[first], classes=np.array([-1, 1]))
    )
    model.partial_fit(X, y)
    with pytest.raises(ValueError, match=r"label 5.*\[-1, 1\].*pass classes="):
        model.partial_fit(X, np.where(first, 5, -1))
    with pytest.raises(ValueError, match=r"label 'no', which is not"):
        model.partial_fit(X, np.where(first, "yes", "no"))
    assert model.n_iter_ == 2


def test_partial_fit_cannot_balance_classes(data):
    with pytest.raises(ValueError, match=r"class_weight='balanced'.*Pass a dict"):
        make(class_weight="balanced").partial_fit(*data)
    make(class_weight={1: 2}).partial_fit(*data)


CHANGES = [
    ({"kernel_size": 2}, r"kernel_size=\(2,\) differs.*has \(1,\)"),
    ({"stride": 2}, r"stride=\(2,\) differs"),
    ({"pooling": "mean"}, r"pooling='mean' differs.*has 'sum'"),
    ({"pooling": 3}, r"pooling=\(3,\) differs"),
    ({"power": 2}, r"power=2.0 differs.*has 3.0"),
    ({"head": "fixed"}, r"head='fixed' differs.*has 'shared'"),
    ({"solver": "adam"}, r"solver='adam' differs.*has 'gd'"),
    ({"n_filters": 13}, r"n_filters=13 differs.*has 12"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_continuing_another_network_is_refused(data, method, change, message):
    model = make(warm_start=True).fit(*data)
    before = fitted(model)
    model.set_params(**change)
    with pytest.raises(ValueError, match=rf"{message}.*clone"):
        getattr(model, method)(*data)
    assert_untouched(model, before)
    model.predict(data[0])
    model.set_params(warm_start=False).fit(*data)  # starts anew


def test_parameters_that_change_after_fit_do_not_change_predictions(data):
    X, _, tasks = data
    model = make(head="per_task").fit(*data)
    expected = model.decision_function(X, tasks)
    model.set_params(head="shared", power=1, kernel_size=2, pooling="mean", n_filters=3)
    np.testing.assert_array_equal(model.decision_function(X, tasks), expected)


def test_warm_start_of_an_automatic_solver_keeps_it(data):
    X, y, tasks = data
    model = make(warm_start=True, max_iter=2).fit(X, y, tasks)
    many = np.tile(X, (84, 1, 1))
    model.fit(many, np.tile(y, 84), np.tile(tasks, 84))
    assert model.solver_ == "gd"


# The end of training


@pytest.mark.parametrize("solver", SOLVERS)
def test_early_stopping_scores_are_those_of_the_returned_network(data, solver):
    """Rows held out are found again from the random state."""
    X, y, tasks = data
    for head in HEADS:
        model = make(head=head, solver=solver, early_stopping=True, max_iter=40)
        model.fit(X, y, tasks)
        assert len(model.validation_scores_) == model.n_iter_
        seed = np.random.RandomState(0).randint(2**31 - 1)
        _, rows = train_test_split(np.arange(80), test_size=0.1, random_state=seed)
        probabilities = model.predict_proba(X[rows], tasks[rows])
        of_labels = np.log(probabilities[np.arange(8), (y[rows] + 1) // 2])
        best = model.validation_scores_.max()
        assert of_labels.mean() == pytest.approx(best, abs=1e-9)


def test_early_stopping_weighs_held_out_rows(data):
    X, y, tasks = data
    weights = np.random.default_rng(0).random(80)
    model = make(solver="adam", early_stopping=True).fit(X, y, tasks, weights)
    seed = np.random.RandomState(0).randint(2**31 - 1)
    _, rows = train_test_split(np.arange(80), test_size=0.1, random_state=seed)
    of_labels = np.log(model.predict_proba(X[rows])[np.arange(8), (y[rows] + 1) // 2])
    expected = np.average(of_labels, weights=weights[rows])
    assert model.validation_scores_.max() == pytest.approx(expected, abs=1e-9)


def test_early_stopping_ends_before_the_budget():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((200, 30)), rng.integers(2, size=200)
    settings = {"n_filters": 64, "early_stopping": True, "max_iter": 300}
    model = make(**settings, validation_fraction=0.3).fit(X, y)
    assert model.n_iter_ < 100
    assert model.validation_scores_.argmax() < model.n_iter_ - 1


def test_early_stopping_goes_on_with_the_same_rows(data):
    model = make(early_stopping=True, warm_start=True, random_state=None).fit(*data)
    n_first, seed = model.n_iter_, model._seed_
    model.fit(*data)
    assert len(model.validation_scores_) == model.n_iter_ > n_first
    assert model._seed_ == seed
    model.set_params(early_stopping=False, warm_start=False).fit(*data)
    assert not hasattr(model, "validation_scores_")


@pytest.mark.parametrize("fraction", [0.02, 0.98])
def test_early_stopping_needs_two_classes_on_both_sides(data, fraction):
    X, y = data[0], np.arange(80) < 2
    model = make(early_stopping=True, validation_fraction=fraction)
    with pytest.raises(ValueError, match=r"validation_fraction=0.\d+ leaves.*1 class"):
        model.fit(X, y)


def test_gd_that_is_cut_short_says_what_to_raise(data):
    with pytest.warns(ConvergenceWarning, match=r"max_iter=15.*Raise max_iter") as seen:
        make(solver="gd").fit(*data)
    assert seen[0].filename == __file__


@pytest.mark.parametrize(
    "parameters",
    [
        {"solver": "adam"},
        {"max_iter": "auto", "n_filters": 4},
        {"max_iter": "auto", "solver": "adam", "n_filters": 4},
        {"tol": 0.5, "max_iter": 50},
    ],
)
def test_budgets_that_are_not_cut_short_are_silent(data, parameters, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(**parameters).fit(*data)
        make(**parameters).partial_fit(*data)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_gd_stops_when_its_loss_has_settled(data):
    model = make(tol=0.5, max_iter=50, n_iter_no_change=3).fit(*data)
    assert model.n_iter_ < 50
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(tol=0.5, max_iter=50, n_iter_no_change=3).fit(*data)


def test_gd_never_raises_its_loss(data):
    for head in HEADS:
        model = make(head=head, max_iter=100, learning_rate=1e6).fit(*data)
        assert (np.diff(model.loss_curve_) <= 0).all()
        assert model.loss_curve_[-1] < model.loss_curve_[0]


@pytest.mark.parametrize("solver", SOLVERS)
def test_verbose_shows_progress_on_stderr(data, solver, capsys):
    make(solver=solver, verbose=True).fit(*data)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "15/15" in captured.err
    assert "loss=" in captured.err


# What goes wrong


def copy_with(model, **attributes):
    other = pickle.loads(pickle.dumps(model))
    vars(other).update(attributes)
    return other


@pytest.mark.parametrize("name", [*NETWORK, "scale_"])
@pytest.mark.parametrize("head", HEADS)
def test_a_network_of_nan_is_never_right(data, head, name):
    X, y, tasks = data
    model = make(head=head).fit(X, y, tasks)
    broken = copy_with(model, **{name: getattr(model, name) * np.nan})
    assert broken.score(X, y, tasks) == 0
    assert broken.score(X, np.zeros(80), tasks) == 0
    for method in (broken.predict, broken.predict_proba):
        with pytest.raises(ValueError, match=r"80 of 80 rows are not finite.*lower"):
            method(X, tasks)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("value", [1e200, np.inf])
def test_a_network_that_overflows_is_never_right(data, value, n_classes):
    X, y = data[0], np.arange(80) % n_classes
    model = make().fit(X, y)
    huge = np.sign(model.filters_) * value
    broken = copy_with(model, filters_=huge, head_coef_=np.ones_like(model.head_coef_))
    assert broken.score(X, y) == 0
    with pytest.raises(ValueError, match="80 of 80 rows are not finite"):
        broken.predict(X)


def test_only_the_rows_that_overflow_are_wrong(data):
    X, y, _ = data
    model = make(solver="adam", max_iter=200).fit(X, y)
    assert model.score(X, y) > 0.9
    mixed = X.copy()
    mixed[:20] *= 1e250
    assert model.score(mixed, y) == 0.75 * model.score(X[20:], y[20:])
    with pytest.raises(ValueError, match="20 of 80 rows are not finite"):
        model.predict(mixed)


@pytest.mark.parametrize(
    "parameters", [{"solver": "adam", "learning_rate": 1e30}, {"init_scale": 1e200}]
)
def test_a_loss_that_diverges_is_an_error_and_keeps_the_last_fit(data, parameters):
    model = make(solver=parameters.get("solver", "gd")).fit(*data)
    before = fitted(model)
    model.set_params(**parameters)
    with pytest.raises(ValueError, match=r"step \d+ of epoch \d+.*Lower learning_rate"):
        model.fit(*data)
    assert_untouched(model, before)
    model.predict(data[0])


class Trouble(Callback):
    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2:
            raise RuntimeError("in a callback")


@pytest.mark.parametrize("warm_start", [False, True])
def test_a_failed_fit_leaves_the_last_good_state(data, warm_start):
    X, y, tasks = data
    model = make(warm_start=warm_start).fit(X, y, tasks)
    before, expected = fitted(model), model.predict(X)
    with_nan = X.copy()
    with_nan[3, 1, 2] = np.nan
    failures = [
        ((with_nan, y, tasks), "contains NaN"),
        ((X, y[:-1], tasks), "inconsistent"),
        ((X, y, tasks[:-1]), "inconsistent"),
        ((X, y, tasks, np.ones(3)), r"sample_weight.shape == \(3,\)"),
        ((X, np.where(np.arange(80) < 2, np.nan, y), tasks), "in 2 of 80 rows"),
        ((X[..., None, None], y, tasks), r"shape \(80, 3, 12, 1, 1\)"),
        ((X, None, tasks), "requires y"),
    ]
    for arguments, message in failures:
        with pytest.raises(ValueError, match=message):
            model.fit(*arguments)
        assert_untouched(model, before)
    model.set_params(callbacks=[Trouble()])
    with pytest.raises(RuntimeError, match="in a callback"):
        model.fit(X, y, tasks)
    assert_untouched(model, before)
    np.testing.assert_array_equal(model.predict(X), expected)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_failed_first_fit_leaves_an_unfitted_estimator(data, method):
    X, y, tasks = data
    model = make()
    for arguments in ((X, y, tasks[:3]), (X, np.ones(80))):
        with pytest.raises(ValueError, match=r"inconsistent|1 class"):
            getattr(model, method)(*arguments)
        assert not fitted(model)
    for unfitted in (model.predict, model.transform, model.decision_function):
        with pytest.raises(NotFittedError):
            unfitted(X)


class CtrlC:
    """Stands in for Ctrl-C, which comes at any line of a fit."""

    def __init__(self, original, at):
        self.original, self.calls, self.at = original, 0, at

    def __call__(self, *args):
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        return self.original(*args)


@pytest.mark.parametrize(("solver", "epoch"), [("gd", 8), ("adam", 5)])
def test_ctrl_c_keeps_the_state_so_far(data, monkeypatch, solver, epoch):
    """A step of gd is an evaluation, but for the first; an epoch of adam is two."""
    interrupt = CtrlC(_conv_descent.evaluate, at=9)
    monkeypatch.setattr(_conv_descent, "evaluate", interrupt)
    model = make(solver=solver, warm_start=True)
    with pytest.warns(UserWarning, match=f"interrupted in epoch {epoch} of 15") as seen:
        model.fit(*data)
    assert seen[0].filename == __file__
    assert model.n_iter_ == len(model.loss_curve_) == epoch - 1
    assert np.isfinite(model.decision_function(data[0])).all()
    model.fit(*data)
    assert model.n_iter_ == epoch + 14


X_BAD, Y_BAD = np.random.default_rng(0).random((6, 3, 4)), [0, 1, 0, 1, 0, 1]
IMAGES_BAD = np.random.default_rng(0).random((6, 3, 8, 6))


@pytest.mark.parametrize(
    ("parameters", "X", "message"),
    [
        ({"kernel_size": 4}, X_BAD, r"4 along an axis of 3 \(n_patches.*Lower"),
        ({"kernel_size": 7}, IMAGES_BAD, r"7 along an axis of 6 \(width"),
        ({"kernel_size": (9, 2)}, IMAGES_BAD, r"9 along an axis of 8 \(height"),
        ({"kernel_size": (2, 2, 2)}, IMAGES_BAD, r"2 axes \(height, width\)"),
        ({"kernel_size": 5, "pooling": 4}, IMAGES_BAD, r"4 cells.*have 2 positions"),
        ({"pooling": (4,)}, X_BAD, r"4 cells along n_patches.*3 positions"),
        ({"input_shape": (3, 5)}, X_BAD.reshape(6, 12), r"15 entries.*have 12"),
        ({"input_shape": (3, 8, 8)}, IMAGES_BAD, r"192 entries.*have 144"),
        ({"input_shape": (1, 1, 3, 4)}, X_BAD, r"one to three positive ints"),
        ({}, IMAGES_BAD[:, None], r"X has shape \(6, 1, 3, 8, 6\)"),
        ({"n_filters": 1, "head": "fixed"}, X_BAD, r"n_filters=1.*2 classes.*Raise"),
        ({"class_weight": {0: 1, 2: 1}}, X_BAD, r"\[0, 2\].*\[0, 1\].*Remove"),
        ({"class_weight": {"a": 1}}, X_BAD, r"\['a'\].*\[0, 1\].*Remove"),
        ({"class_weight": {0: 0, 1: 0}}, X_BAD, r"weight of 0.*class_weight"),
        ({"class_weight": {0: -1, 1: 3}}, X_BAD, r"class_weight=.* negative"),
        ({"input_shape": (8, 6, 3)}, IMAGES_BAD, r"\(8, 6, 3\).*shape \(3, 8, 6\)"),
        ({"input_shape": (144,)}, IMAGES_BAD, r"\(144,\).*shape \(3, 8, 6\)"),
        ({"input_shape": (2.5, 6)}, X_BAD, r"one to three positive ints"),
        ({"device": "abacus"}, X_BAD, r"device='abacus' cannot be used here"),
    ],
)
def test_settings_that_do_not_fit_are_refused_with_their_numbers(
    parameters, X, message
):
    model = make(**parameters)
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y_BAD)
    assert not fitted(model)


@pytest.mark.parametrize(
    "parameters",
    [
        {"n_filters": 0},
        {"power": 0.5},
        {"power": np.inf},
        {"head": "both"},
        {"solver": "sgd"},
        {"pooling": "max"},
        {"kernel_size": 0},
        {"stride": 0},
        {"learning_rate": 0.0},
        {"weight_decay": -1.0},
        {"init_scale": 0.0},
        {"max_iter": 0},
        {"batch_size": 0},
        {"validation_fraction": 1.0},
        {"class_weight": "equal"},
        {"task_weight": "balanced"},
        {"input_shape": "square"},
        {"callbacks": "progress"},
    ],
)
def test_bad_parameters_are_named(parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        make(**parameters).fit(X_BAD, Y_BAD)


@pytest.mark.parametrize(
    ("y", "tasks", "message"),
    [
        (None, None, "requires y to be passed"),
        ([0, 1, 0, np.nan, 0, np.nan], None, r"NaN or None in 2 of 6 rows.*Drop"),
        (["a", "b", None, "a", "b", "a"], None, r"in 1 of 6 rows"),
        ([0, 1, 0, np.inf, 0, 1], None, "infinity"),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], None, "continuous"),
        ([1] * 6, None, r"1 class \(\[1\]\).*at least 2"),
        (["a", 1, "a", 1, "a", 1], None, "mix strings and numbers"),
        (np.zeros((6, 2)), None, r"1d array.*\(6, 2\)"),
        (Y_BAD[:5], None, r"inconsistent.*\[6, 5"),
        (Y_BAD, ["a", None, "b", "a", "b", None], r"2 missing ids.*Drop"),
        (Y_BAD, [1, np.nan, 1, 1, 1, 1], "1 missing ids"),
        (Y_BAD, ["a", 1, "a", "b", "b", "b"], "mix strings and numbers"),
        (Y_BAD, [["a"]] * 6, r"1d array.*\(6, 1\)"),
        (Y_BAD, ["a"] * 5, r"inconsistent.*\[6, 6, 5\]"),
    ],
)
def test_bad_labels_and_ids_are_refused(y, tasks, message):
    with pytest.raises(ValueError, match=message):
        make().fit(X_BAD, y, tasks)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.zeros(6), "non-zero"),
        (-np.ones(6), "Negative"),
        ([1, 1, np.nan, 1, 1, 1], "NaN"),
        (np.ones(5), r"\(5,\), expected \(6,\)"),
    ],
)
def test_bad_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        make().fit(X_BAD, Y_BAD, sample_weight=weights)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 8, 6), r"shape \(1, 8, 6\).*fitted on.*\(3, 8, 6\).*channels"),
        ((3, 6, 8), r"shape \(3, 6, 8\).*\(3, 8, 6\)"),
        ((8, 6, 3), r"shape \(8, 6, 3\).*\(3, 8, 6\)"),
        ((24, 6), r"shape \(24, 6\).*\(3, 8, 6\)"),
        ((1, 3, 8, 6), r"X has shape \(6, 1, 3, 8, 6\)"),
        ((143,), "143 features.*144 features"),
    ],
)
def test_images_unlike_those_of_fit_are_refused(shape, message):
    model = make(max_iter=1, warm_start=True).fit(IMAGES_BAD, Y_BAD)
    other = np.zeros((6, *shape))
    for method in (model.predict, model.transform):
        with pytest.raises(ValueError, match=message):
            method(other)
    for method in (model.score, model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=message):
            method(other, Y_BAD)


def test_images_with_channels_last_are_told():
    last = np.moveaxis(IMAGES_BAD, 1, -1)
    with pytest.warns(UserWarning, match=r"8 channels.*moveaxis\(X, -1, 1\)") as seen:
        make(max_iter=1).fit(last, Y_BAD)
    assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(max_iter=1).fit(np.moveaxis(last, -1, 1), Y_BAD)


def test_named_columns_are_checked(data):
    X, y, _ = data
    frame = pd.DataFrame(X.reshape(80, 36)).add_prefix("x")
    model = make(input_shape=(3, 12)).fit(frame, y)
    assert model.feature_names_in_.tolist() == frame.columns.tolist()
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame.add_prefix("z"))
    model.fit(X, y)
    assert not hasattr(model, "feature_names_in_")


def test_score_counts_labels_that_fit_did_not_see_as_wrong(data):
    X, y, _ = data
    model = make().fit(X, y)
    expected = model.score(X, y)
    half = np.where(np.arange(80) < 40, y, 7)
    assert model.score(X, half) == model.score(X[:40], y[:40]) / 2
    assert model.score(X, y.astype(str)) == 0
    assert expected > 0


# Inside scikit-learn's tools, and out through files


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("head", HEADS)
def test_clone_and_pickle(data, head, solver):
    X, y, tasks = data
    model = make(head=head, solver=solver, callbacks=[]).fit(X, y, tasks)
    assert clone(model).get_params() == model.get_params()
    assert not fitted(clone(model))
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.transform(X), model.transform(X))
    np.testing.assert_array_equal(loaded.predict(X, tasks), model.predict(X, tasks))


def test_joblib_maps_a_model_into_memory(data, tmp_path):
    X, y, tasks = data
    model = make().fit(X, y, tasks)
    joblib.dump(model, tmp_path / "model")
    loaded = joblib.load(tmp_path / "model", mmap_mode="r")
    assert not loaded.filters_.flags.writeable
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    loaded.partial_fit(X, y, tasks)
    assert_same_network(loaded, model.partial_fit(X, y, tasks))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("head", HEADS)
def test_skops_loads_without_trusting_more_than_the_class(data, head, solver):
    X, y, tasks = data
    y = np.where(y > 0, "yes", "no")
    settings = {"class_weight": {"yes": 2}, "kernel_size": (1,), "early_stopping": True}
    pipe = make_pipeline(
        StandardScaler(), make(head=head, solver=solver, input_shape=(3, 12))
    )
    rows = X.reshape(80, 36)
    pipe.set_params(**{f"{STEP}__{k}": v for k, v in settings.items()})
    pipe.fit(rows, y, **{f"{STEP}__tasks": tasks})
    dumped = skops.io.dumps(pipe)
    untrusted = skops.io.get_untrusted_types(data=dumped)
    assert untrusted == ["mtrl_sklearn._conv.ConvMultiTaskClassifier"]
    loaded = skops.io.loads(dumped, trusted=untrusted)
    np.testing.assert_array_equal(loaded.transform(rows), pipe.transform(rows))
    for model in (loaded[-1], pipe[-1]):
        model.partial_fit(rows, y, tasks)
    assert_same_network(loaded[-1], pipe[-1])


def test_pipeline_of_rows(data):
    X, y, tasks = data
    rows = X.reshape(80, 36)
    pipe = make_pipeline(StandardScaler(), make(input_shape=(3, 12)))
    pipe.fit(rows, y, **{f"{STEP}__tasks": tasks})
    assert pipe[-1].tasks_.tolist() == ["ape", "bat", "cat", "dog"]
    assert pipe.transform(rows).shape == (80, 12)
    assert pipe.predict(rows).shape == (80,)
    assert pipe.get_feature_names_out()[0] == f"{STEP}0"
    union = FeatureUnion([("learned", make()), ("raw", "passthrough")])
    assert union.fit(rows, y).transform(rows).shape == (80, 12 * 4 + 36)


@pytest.mark.parametrize("routing", [False, True])
def test_grid_search_leaves_sources_out(data, routing):
    X, y, tasks = data
    seen = []

    class RecordTasks(Callback):
        def on_train_begin(self, net, X=None, **kwargs):
            seen.append(set(X.tensors[2].tolist()))

    model = make(task_weight="equal", callbacks=[RecordTasks()])
    with config_context(enable_metadata_routing=routing):
        if routing:
            model.set_fit_request(tasks=True).set_score_request(tasks=False)
        search = GridSearchCV(
            model, {"power": [2, 3]}, cv=GroupKFold(4), error_score="raise"
        )
        search.fit(X, y, groups=tasks, tasks=tasks)
    assert seen == [{0, 1, 2}] * 8 + [{0, 1, 2, 3}]
    assert search.best_estimator_.tasks_.tolist() == ["ape", "bat", "cat", "dog"]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_grid_search_in_two_threads(data):
    X, y, tasks = data
    results = []
    for n_jobs in (1, 2):
        with joblib.parallel_config("threading", n_jobs=n_jobs):
            search = GridSearchCV(make(), {"power": [2, 3]}, cv=GroupKFold(2))
            search.fit(X, y, groups=tasks, tasks=tasks)
        results.append(search.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(*results)


def test_a_source_that_is_left_out_is_predicted():
    """Its rows with the shared feature are known, the others are not."""
    X, y, tasks, *_ = make_patch_tasks(
        60, 8, n_features=100, noise_norm=1.2, random_state=0
    )
    model = make(n_filters=48, head="fixed", max_iter="auto")
    scores = cross_val_score(
        model, X, y, groups=tasks, cv=LeaveOneGroupOut(), params={"tasks": tasks}
    )
    assert scores.shape == (8,)
    assert 0.65 < scores.mean() < 0.85


def test_ids_are_routed_to_the_heads_of_tasks(data):
    X, y, tasks = data
    with config_context(enable_metadata_routing=True):
        model = make(head="per_task", input_shape=(3, 12))
        model.set_fit_request(tasks=True, sample_weight=True)
        model.set_score_request(tasks=True, sample_weight=True)
        model.set_predict_request(tasks=True)
        rows = X.reshape(80, 36)
        scaler = StandardScaler().set_fit_request(sample_weight=True)
        pipe = make_pipeline(scaler, model)
        metadata = {"tasks": tasks, "sample_weight": np.ones(80)}
        pipe.fit(rows, y, **metadata)
        predicted = pipe.predict(rows, tasks=tasks)
        assert pipe.score(rows, y, **metadata) == (predicted == y).mean()
        splitter = KFold(3, shuffle=True, random_state=0)
        scores = cross_val_score(
            pipe, rows, y, cv=splitter, params=metadata, error_score="raise"
        )
        assert np.isfinite(scores).all()


def test_cross_validated_probabilities(data):
    X, y, _ = data
    found = cross_val_predict(make(), X, y, cv=4, method="predict_proba")
    assert found.shape == (80, 2)
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_a_frozen_network_feeds_a_probe(data):
    X, y, tasks = data
    model = make(max_iter=200, solver="adam").fit(X, y, tasks)
    before = pickle.dumps(model)
    probe = make_pipeline(FrozenEstimator(model), LogisticRegression(C=100))
    assert probe.fit(X, y).score(X, y) > 0.9
    assert pickle.dumps(model) == before


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_set_output(data, library):
    X, y, _ = data
    model = make(max_iter=2).set_output(transform=library).fit(X, y)
    out = model.transform(X)
    assert isinstance(out, {"pandas": pd, "polars": pl}[library].DataFrame)
    assert list(out.columns) == [f"{STEP}{k}" for k in range(12)]
    expected = make(max_iter=2).fit(X, y).transform(X)
    np.testing.assert_array_equal(out.to_numpy(), expected)


class RecordLoss(Callback):
    def initialize(self):
        self.losses = []
        return self

    def on_epoch_end(self, net, **kwargs):
        self.losses.append(net.history[-1]["train_loss"])


@pytest.mark.parametrize("solver", SOLVERS)
def test_skorch_callbacks_are_called(data, solver):
    record = RecordLoss()
    model = make(solver=solver, callbacks=[record]).fit(*data)
    np.testing.assert_array_equal(record.losses, model.loss_curve_)
    model.partial_fit(*data)
    assert len(record.losses) == 1
    assert record.losses[0] == model.loss_curve_[-1]


@pytest.mark.parametrize("solver", SOLVERS)
def test_scikit_learn_progress_bar(data, solver, capsys):
    make(solver=solver).set_callbacks(ProgressBar()).fit(*data)
    assert "ConvMultiTaskClassifier - fit" in capsys.readouterr().out


@pytest.mark.parametrize("head", HEADS)
def test_scikit_learn_scoring_monitor_sees_the_estimator_of_each_epoch(data, head):
    def scoring(estimator, X, y, **metadata):
        return estimator.score(X, y, **metadata)

    monitor = ScoringMonitor(scoring={"accuracy": scoring})
    model = make(head=head, solver="adam").set_callbacks(monitor).fit(*data)
    logs = pd.DataFrame(monitor.get_logs(select="most_recent").data)
    assert len(logs) >= 15
    assert model.score(*data) in logs["accuracy"].to_numpy()


@pytest.mark.parametrize("solver", SOLVERS)
def test_scikit_learn_callbacks_may_stop_a_fit(data, solver):
    class StopAfterTwo:
        calls = 0

        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            self.calls += context.parent is not None
            assert fitted_estimator.transform(data[0]).shape == (80, 12)
            return self.calls == 2

    model = make(solver=solver).set_callbacks(StopAfterTwo()).fit(*data)
    assert model.n_iter_ == 2


def test_predictions_stay_arrays_when_features_do_not(data):
    X, y, _ = data
    model = make().fit(X, y)
    expected = model.predict_proba(X)
    score = model.set_output(transform="pandas").score(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), expected)
    assert score == (model.predict(X) == y).mean()


def test_ids_stay_strings_or_numbers(data):
    X, y, tasks = data
    model = make().partial_fit(X, y, tasks)
    with pytest.raises(ValueError, match=r"ids such as 3,.*'ape'"):
        model.partial_fit(X, y, np.full(len(y), 3))
    assert model.tasks_.tolist() == ["ape", "bat", "cat", "dog"]
    assert model.n_iter_ == 1


def test_labels_of_numpy_strings():
    X, y, *_ = make_patch_tasks(20, 4, n_features=12, random_state=0)
    names = np.where(y > 0, "yes", "no")
    model = make().fit(X, names)
    variable = names.astype(np.dtypes.StringDType())
    assert model.score(X, variable) == model.score(X, names)
    again = make().fit(X, variable)
    assert again.predict(X).tolist() == model.predict(X).tolist()


def test_gd_is_patient_where_it_starts():
    X, y, tasks, *_ = make_patch_tasks(random_state=0)
    model = ConvMultiTaskClassifier(head="fixed", init_scale=0.003, random_state=0)
    model.fit(X.astype(np.float32), y, tasks)
    assert model.n_iter_ > 100
    assert model.loss_curve_[-1] < 0.1


@pytest.mark.filterwarnings("error")
def test_gd_says_that_it_never_left_its_start(data):
    X, y, _ = data
    with pytest.warns(ConvergenceWarning, match="not left its start. Raise init_scale"):
        make(solver="gd", max_iter="auto", power=6).fit(X, y)


def test_constant_inputs_have_no_scale():
    for value, n_rows in ((0.1, 20), (0.1, 200), (7.3, 12)):
        X = np.full((n_rows, 3, 8, 8), value)
        model = make().fit(X, np.arange(n_rows) % 2)
        assert model.scale_ == 1
        assert np.abs(model.biases_).max() < 100


def test_sample_weights_as_large_as_floats_go(data):
    X, y, _ = data
    even = without_chance().fit(X, y)
    large = without_chance().fit(X, y, sample_weight=np.full(len(y), 1e308))
    np.testing.assert_array_equal(large.filters_, even.filters_)
