"""The public contract of MultiTaskReLURepresentation."""

import random

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from relu_cases import ALGORITHMS, FITTED_ARRAYS, make, quick, subspace_rows, to_long
from sklearn.utils import check_random_state

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn._arrays.rows import to_tensor
from mtrl_sklearn.metrics import multitask_roc_auc_score


@pytest.fixture(scope="module")
def data():
    return subspace_rows()


def full_batch(algorithm, **parameters):
    """A fit without any randomness but the initial weights."""
    return make(algorithm=algorithm, batch_size=10**6, dropout=0, **parameters)


def assert_same_network(first, second, rtol=1e-7, atol=1e-9):
    for name in ("hidden_weights_", "hidden_biases_", "task_coef_", "task_intercept_"):
        a, b = getattr(first, name), getattr(second, name)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=name)


@quick
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_fitted_attributes_have_the_documented_shapes(data, algorithm, dtype):
    X, Y = data[0].astype(dtype), data[1]
    model = make(algorithm=algorithm, n_components=3).fit(X, Y)
    shapes = {
        "hidden_weights_": (16, 12),
        "hidden_biases_": (16,),
        "task_coef_": (6, 16),
        "task_intercept_": (6,),
        "components_": (3, 12),
        "singular_values_": (12,),
        "loss_curve_": (4,),
        "task_names_": (6,),
    }
    for name, shape in shapes.items():
        assert getattr(model, name).shape == shape, name
    for name in FITTED_ARRAYS[:-1]:
        assert getattr(model, name).dtype == dtype, name
    assert (model.n_tasks_, model.n_components_, model.n_iter_) == (6, 3, 4)
    assert model.n_features_in_ == 12
    for output, width in (("hidden", 16), ("projection", 3), ("scores", 6)):
        model.set_params(output=output)
        assert model.transform(X).dtype == dtype
        assert model.transform(X).shape == (300, width)
        assert model.get_feature_names_out().shape == (width,)


@quick
@pytest.mark.parametrize("n_components", [None, 2])
def test_transform_is_what_the_attributes_say(data, n_components):
    X, Y = data
    model = make(n_components=n_components).fit(X, Y)
    hidden = np.maximum(X @ model.hidden_weights_.T + model.hidden_biases_, 0)
    np.testing.assert_allclose(model.transform(X), hidden)
    scores = hidden @ model.task_coef_.T + model.task_intercept_
    np.testing.assert_allclose(model.decision_function(X), scores)
    np.testing.assert_allclose(model.predict_proba(X), 1 / (1 + np.exp(-scores)))
    np.testing.assert_array_equal(model.predict(X), scores > 0)
    model.set_params(output="projection")
    np.testing.assert_allclose(model.transform(X), X @ model.components_.T)
    basis = model.components_
    np.testing.assert_allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-9)
    values = np.linalg.svd(model.hidden_weights_)[1][: len(basis)]
    np.testing.assert_allclose(values, model.singular_values_[: len(basis)])


@quick
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_fits_repeat_bit_for_bit(data, algorithm):
    X, Y = data
    torch.manual_seed(1)
    first = make(algorithm=algorithm).fit(X, Y)
    torch.manual_seed(2)
    second = make(algorithm=algorithm).fit(X, Y)
    other = make(algorithm=algorithm, random_state=1).fit(X, Y)
    for name in FITTED_ARRAYS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert not np.allclose(first.hidden_weights_, other.hidden_weights_)


@quick
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_global_random_state_is_not_touched(data, algorithm):
    def seed_all():
        torch.manual_seed(0)
        random.seed(0)
        check_random_state(None).seed(0)  # numpy's global state

    def draw_all():
        return torch.rand(1), random.random(), check_random_state(None).uniform()

    seed_all()
    expected = draw_all()
    seed_all()
    make(algorithm=algorithm).fit(*data)
    assert draw_all() == expected


@quick
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_is_not_observed_has_no_influence(data, algorithm):
    """Neither what stands for a hidden label, nor inputs of rows without any."""
    X, Y = data[0].copy(), data[1].copy()
    Y[::7] = np.nan
    base = make(algorithm=algorithm).fit(X, Y)
    as_none = make(algorithm=algorithm).fit(X, np.where(np.isnan(Y), None, Y))
    X[::7] += 1.0
    perturbed = make(algorithm=algorithm).fit(X, Y)
    for name in FITTED_ARRAYS:
        np.testing.assert_array_equal(getattr(base, name), getattr(as_none, name))
        np.testing.assert_array_equal(getattr(base, name), getattr(perturbed, name))


@quick
@pytest.mark.parametrize("loss", ["logistic", "hinge"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_long_form_equals_wide_form(data, algorithm, loss):
    X, Y = data
    wide = full_batch(algorithm, loss=loss).fit(X, Y)
    X_long, y_long, tasks = to_long(X, Y)
    long = full_batch(algorithm, loss=loss).fit(X_long, y_long, tasks=tasks)
    assert long.task_names_.tolist() == wide.task_names_.tolist()
    assert_same_network(wide, long, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(wide.loss_curve_, long.loss_curve_, rtol=1e-6)
    assert long.score(X_long, y_long, tasks=tasks) == pytest.approx(wide.score(X, Y))


@quick
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_order_and_names_of_tasks_and_labels_do_not_matter(data, algorithm):
    X, Y = data
    base = full_batch(algorithm).fit(X, Y)
    words = np.where(np.isnan(Y), None, np.where(Y == 1, "yes", "no"))
    renamed = full_batch(algorithm).fit(X, words)
    assert_same_network(base, renamed)
    assert set(renamed.predict(X).ravel()) <= {"yes", "no"}
    order = np.array([3, 1, 5, 0, 4, 2])
    shuffled = full_batch(algorithm).fit(X, Y[:, order])
    np.testing.assert_allclose(
        shuffled.hidden_weights_, base.hidden_weights_, rtol=1e-5, atol=1e-8
    )
    np.testing.assert_allclose(
        shuffled.task_coef_, base.task_coef_[order], rtol=1e-4, atol=1e-7
    )
    swapped = full_batch(algorithm).fit(X, 1 - Y)
    np.testing.assert_allclose(
        swapped.hidden_weights_, base.hidden_weights_, rtol=1e-5, atol=1e-8
    )
    np.testing.assert_allclose(
        swapped.decision_function(X), -base.decision_function(X), rtol=1e-4, atol=1e-6
    )


@quick
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_scale_and_offset_of_inputs_do_not_matter(data, algorithm):
    X, Y = data
    base = full_batch(algorithm).fit(X, Y)
    moved = full_batch(algorithm).fit(1000 * X + 50, Y)
    np.testing.assert_allclose(
        moved.decision_function(1000 * X + 50),
        base.decision_function(X),
        rtol=1e-5,
        atol=1e-7,
    )


@quick
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_unusable_tasks_are_named_and_do_no_harm(data, algorithm):
    X, Y = data
    base = make(algorithm=algorithm).fit(X, Y)
    with_junk = np.c_[Y, np.full(len(Y), np.nan), np.ones(len(Y))]
    with pytest.warns(UserWarning, match="2 of 8 tasks.*'task6', 'task7'"):
        model = make(algorithm=algorithm).fit(X, with_junk)
    np.testing.assert_allclose(model.hidden_weights_, base.hidden_weights_)
    np.testing.assert_allclose(model.task_coef_[:6], base.task_coef_)
    assert model.predict(X)[:, 7].tolist() == [1] * len(X)
    assert np.isfinite(model.decision_function(X)).all()
    assert model.score(X, with_junk) == pytest.approx(base.score(X, Y))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_single_binary_task_behaves_like_a_classifier(algorithm):
    X = np.random.default_rng(0).standard_normal((200, 3))
    y = np.where(X[:, 0] > 0, "hot", "cold")
    model = MultiTaskReLURepresentation(16, algorithm=algorithm, random_state=0)
    model.fit(X, y)
    assert model.n_tasks_ == 1
    assert model.classes_.tolist() == ["cold", "hot"]
    assert model.decision_function(X).shape == (200,)
    probabilities = model.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (model.predict(X) == y).mean() > 0.9
    np.testing.assert_array_equal(model.predict(X) == "hot", probabilities[:, 1] > 0.5)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_classes_of_one_column_become_one_vs_rest_tasks(algorithm):
    X = np.random.default_rng(0).standard_normal((300, 4))
    y = X[:, :3].argmax(axis=1) * 10
    model = MultiTaskReLURepresentation(32, algorithm=algorithm, random_state=0)
    model.fit(X, y)
    assert model.n_tasks_ == 3
    assert model.task_names_.tolist() == ["y=0", "y=10", "y=20"]
    assert model.decision_function(X).shape == (300, 3)
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    assert (model.predict(X) == y).mean() > 0.8
    assert model.score(X, y) > 0.9


@quick
def test_score_is_the_mean_auc_over_observed_labels(data):
    X, Y = data
    model = make().fit(X, Y)
    expected = multitask_roc_auc_score(Y, model.decision_function(X))
    assert model.score(X, Y) == pytest.approx(expected)


@quick
def test_score_weighs_rows(data):
    X, Y = data
    model = make().fit(X, Y)
    weight = np.random.default_rng(0).integers(0, 3, len(X))
    repeated = np.repeat(np.arange(len(X)), weight)
    expected = model.score(X[repeated], Y[repeated])
    assert model.score(X, Y, sample_weight=weight) == pytest.approx(expected)
    ones = np.ones(len(X))
    assert model.score(X, Y, sample_weight=ones) == pytest.approx(model.score(X, Y))


@pytest.mark.parametrize("X", [np.eye(6, dtype=np.uint8), np.eye(6, dtype=bool)])
def test_integers_become_float32_and_lists_float64(X):
    model = MultiTaskReLURepresentation(4, random_state=0)
    assert model.fit(X, [0, 1] * 3).transform(X).dtype == np.float32
    assert model.fit(X.tolist(), [0, 1] * 3).transform(X.tolist()).dtype == np.float64


@quick
def test_score_skips_tasks_that_were_not_part_of_fit(data):
    X, y, tasks = to_long(*data)
    known = tasks != "task5"
    model = make().fit(X[known], y[known], tasks=tasks[known])
    expected = model.score(X[known], y[known], tasks=tasks[known])
    assert model.score(X, y, tasks=tasks) == pytest.approx(expected)


@quick
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("scale", [1e-25, 1e-12, 1e12, 1e20])
def test_inputs_of_extreme_scale_are_learned_as_well(data, algorithm, dtype, scale):
    X, Y = data[0].astype(dtype), data[1]
    expected = make(algorithm=algorithm, n_components=3).fit(X, Y).score(X, Y)
    scaled = X * dtype(scale)
    model = make(algorithm=algorithm, n_components=3).fit(scaled, Y)
    assert model.score(scaled, Y) == pytest.approx(expected, abs=0.01)


@quick
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_probabilities_of_classes_sum_to_one_at_extreme_inputs(data, algorithm):
    X = data[0]
    model = make(algorithm=algorithm).fit(X, np.digitize(X[:, 0], [-0.5, 0.5]))
    probabilities = model.predict_proba(X * 1e6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


@quick
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_read_only_inputs_are_neither_copied_nor_changed(data, algorithm):
    X, Y = data[0].copy(), data[1]
    expected = make(algorithm=algorithm).fit(X, Y).transform(X)
    X.flags.writeable = False
    before = X.copy()
    tensor = to_tensor(X, "cpu")
    assert tensor.data_ptr() == X.ctypes.data
    model = make(algorithm=algorithm).fit(X, Y)
    np.testing.assert_array_equal(model.transform(X), expected)
    np.testing.assert_array_equal(X, before)


@quick
def test_score_takes_labels_that_fit_did_not_see(data):
    X = data[0]
    model = make().fit(X[:100], np.arange(100) % 2)
    expected = model.score(X[100:200], np.arange(100) % 2)
    y = np.r_[np.arange(100) % 2, np.full(100, 2)]
    assert model.score(X[100:], y) == pytest.approx(expected)


@quick
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_small_floats_stay_small(data, dtype):
    X, Y = data[0].astype(dtype), data[1]
    assert make().fit(X, Y).transform(X).dtype == np.float32
    frame = pl.DataFrame(X.astype(np.float32))
    assert make().fit(frame, Y).transform(frame).dtype == np.float32


def test_predict_proba_needs_the_logistic_loss():
    assert hasattr(make(loss="logistic"), "predict_proba")
    assert not hasattr(make(loss="hinge"), "predict_proba")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_hidden": 0}, "n_hidden"),
        ({"n_components": 13}, r"n_components=13 exceeds .*=12"),
        ({"n_components": "best"}, "n_components"),
        ({"algorithm": "two_step"}, "algorithm"),
        ({"loss": "squared"}, "loss"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"weight_decay": 1500.0}, "weight_decay=1500 is 1.5: .* Lower"),
        ({"dropout": 1.0}, "dropout"),
        ({"max_iter": 0}, "max_iter"),
        ({"device": "abacus"}, "device='abacus' cannot be used here"),
        ({"callbacks": "progress"}, "callbacks"),
    ],
)
def test_bad_parameters_are_named(data, parameters, message):
    with pytest.raises(ValueError, match=message):
        make(**parameters).fit(*data)


@quick
def test_scores_are_named_after_tasks(data):
    Y = pd.DataFrame(data[1], columns=list("uvwxyz"))
    model = make(output="scores").fit(data[0], Y)
    assert model.task_names_.tolist() == list("uvwxyz")
    assert model.get_feature_names_out().tolist() == list("uvwxyz")


@quick
@pytest.mark.parametrize("task_weight", ["observed", "equal"])
def test_weight_of_tasks(task_weight):
    """A task copied many times over rows outweighs the other unless tasks are equal."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 2))
    y = np.r_[X[:380, 0] > 0, X[380:, 1] > 0]
    tasks = np.repeat(["many", "few"], [380, 20])
    model = make(task_weight=task_weight, n_hidden=32, max_iter=40, batch_size=40)
    model.fit(X, y, tasks=tasks)
    energy = np.linalg.norm(model.hidden_weights_, axis=0) ** 2
    share_of_few = energy[1] / energy.sum()
    assert (share_of_few > 0.25) == (task_weight == "equal"), share_of_few
