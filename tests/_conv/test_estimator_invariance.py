"""What does not matter to ConvMultiTaskClassifier, and what weights stand for."""

import random

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from conv_cases import (
    FITTED_ARRAYS,
    HEADS,
    SOLVERS,
    assert_same_network,
    images_of_bars,
    make,
    rows_of_patches,
    without_chance,
)
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_sample_weight

from mtrl_sklearn.datasets import make_patch_tasks

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def data():
    return rows_of_patches()


@pytest.fixture(scope="module")
def images():
    return images_of_bars()


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


def test_labels_of_numpy_strings():
    X, y, *_ = make_patch_tasks(20, 4, n_features=12, random_state=0)
    names = np.where(y > 0, "yes", "no")
    model = make().fit(X, names)
    variable = names.astype(np.dtypes.StringDType())
    assert model.score(X, variable) == model.score(X, names)
    again = make().fit(X, variable)
    assert again.predict(X).tolist() == model.predict(X).tolist()


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


def test_sample_weights_as_large_as_floats_go(data):
    X, y, _ = data
    even = without_chance().fit(X, y)
    large = without_chance().fit(X, y, sample_weight=np.full(len(y), 1e308))
    np.testing.assert_array_equal(large.filters_, even.filters_)


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
