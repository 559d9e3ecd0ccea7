"""What goes wrong with ConvMultiTaskClassifier, and what it says then."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from conv_cases import HEADS, NETWORK, assert_untouched, fitted, make, rows_of_patches
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from skorch.callbacks import Callback

from mtrl_sklearn._conv import descent as _conv_descent

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def data():
    return rows_of_patches()


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
    "parameters",
    [
        {"solver": "adam", "learning_rate": 1e200, "weight_decay": 0.0},
        {"init_scale": 1e200},
    ],
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
        ({"solver": "adam", "weight_decay": 1e4}, X_BAD, "weight_decay=10000 is .*Low"),
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


def test_images_with_channels_last_are_refused():
    last = np.moveaxis(IMAGES_BAD, 1, -1)
    model = make(max_iter=1)
    for method in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=r"8 channels.*moveaxis\(X, -1, 1\)"):
            method(last, Y_BAD)
    assert not fitted(model)
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


def test_a_dead_network_is_told(data):
    class LoseFilters(Callback):
        def on_train_end(self, net, **kwargs):
            net.module_.filters.data.zero_()

    X, y, tasks = data
    model = make(solver="adam", callbacks=[LoseFilters()])
    with pytest.warns(ConvergenceWarning, match="network is dead"):
        model.fit(X, y, tasks)
    assert np.ptp(model.transform(X), axis=0).max() == 0


def test_a_loss_that_exploded_is_told(data):
    X, y, tasks = data
    with pytest.warns(ConvergenceWarning, match=r"exploded: it ended at .* 0\.693"):
        make(solver="adam", learning_rate=100.0, weight_decay=0.0).fit(X, y, tasks)
