"""How MultiTaskReLURepresentation continues, ends and reports its training."""

import pickle
import warnings

import numpy as np
import pytest
from relu_cases import (
    ALGORITHMS,
    FITTED_ARRAYS,
    make,
    quick,
    subspace_rows,
    train_no_small_networks,
)
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import train_test_split
from skorch.callbacks import Callback, EarlyStopping, EpochScoring, EpochTimer

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn._relu import descent as _relu_descent
from mtrl_sklearn.datasets import make_subspace_tasks


@pytest.fixture(scope="module")
def data():
    return subspace_rows()


@quick
@pytest.mark.parametrize("n_components", [None, 2])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_warm_start_continues_where_the_fit_stopped(data, algorithm, n_components):
    X, Y = data
    settings = {"algorithm": algorithm, "n_components": n_components}
    once = make(max_iter=6, **settings).fit(X, Y)
    parts = make(max_iter=3, warm_start=True, **settings).fit(X, Y)
    parts = pickle.loads(pickle.dumps(parts)).fit(X, Y)
    for name in FITTED_ARRAYS:
        np.testing.assert_array_equal(getattr(parts, name), getattr(once, name))
    assert parts.n_iter_ == 6


@quick
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_partial_fit_continues_after_pickling(data, algorithm):
    X, Y = data
    halves = [(X[:150], Y[:150]), (X[150:], Y[150:])]
    straight, pickled = make(algorithm=algorithm), make(algorithm=algorithm)
    for half in halves:
        straight.partial_fit(*half)
        pickled = pickle.loads(pickle.dumps(pickled.partial_fit(*half)))
    for name in FITTED_ARRAYS:
        np.testing.assert_array_equal(getattr(straight, name), getattr(pickled, name))
    assert straight.n_iter_ == 2
    observed = (~np.isnan(Y)).sum(axis=0)
    np.testing.assert_array_equal(straight.n_positive_ + straight.n_negative_, observed)


@quick
def test_partial_fit_over_blocks_scores_like_fit():
    X, Y, _, problem = make_subspace_tasks(4000, 30, random_state=0)
    X_test, Y_test = problem.sample(1000, random_state=1)
    whole = make(n_hidden=64, max_iter=10).fit(X, Y)
    blocks = make(n_hidden=64)
    for _ in range(10):
        for rows in np.split(np.arange(4000), 4):
            blocks.partial_fit(X[rows], Y[rows])
    assert whole.n_components_ == blocks.n_components_ == 4
    assert whole.score(X_test, Y_test) > 0.85
    assert blocks.score(X_test, Y_test) > whole.score(X_test, Y_test) - 0.02


@quick
def test_partial_fit_does_not_die_out(data):
    X, Y = data
    model = make(batch_size=64, n_components=None)
    for _ in range(30):
        model.partial_fit(X, Y)
    whole = make(batch_size=64, n_components=None, max_iter=30).fit(X, Y)
    assert model.loss_curve_[-1] == pytest.approx(whole.loss_curve_[-1], rel=0.2)
    assert model.score(X, Y) > whole.score(X, Y) - 0.02


@quick
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_first_batch_without_a_usable_task_centres_inputs(data, algorithm):
    X, Y = 1000 + 100 * data[0], data[1]
    flat = np.where(Y == 1, np.nan, Y)
    first, without = (
        make(algorithm=algorithm, n_components=None, batch_size=32) for _ in range(2)
    )
    first.partial_fit(X, flat, classes=[0, 1])
    for _ in range(30):
        first.partial_fit(X, Y)
        without.partial_fit(X, Y)
    assert without.score(X, Y) > 0.6
    assert first.score(X, Y) > without.score(X, Y) - 0.03


@quick
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_task_without_labels_in_the_last_batch_is_not_forgotten(data, algorithm):
    X, Y = data
    later = Y.copy()
    later[:, 0] = np.nan
    model = make(algorithm=algorithm, n_components=2)
    model.partial_fit(X, Y).partial_fit(X, later)
    assert model.task_coef_.any(axis=1).all()
    assert model.score(X, Y[:, :1] + np.r_[0, [np.nan] * 5]) > 0.5


@quick
@pytest.mark.parametrize(
    ("loss", "expected"), [("logistic", np.log(2.5 / 98.5)), ("hinge", -1)]
)
def test_heads_start_at_the_base_rates(loss, expected):
    """With half a label of each class more, as an infinite log-odds is no start."""
    X, y = np.random.default_rng(0).standard_normal((100, 3)), np.arange(100) < 2
    model = make(loss=loss, learning_rate=1e-12, max_iter=1).fit(X, y)
    assert model.task_intercept_[0] == pytest.approx(expected, abs=1e-9)


@quick
def test_partial_fit_takes_classes_that_the_first_batch_lacks(data):
    X, Y = data
    first = np.where(Y == 1, np.nan, Y)
    with pytest.raises(ValueError, match=r"label 1\.0 in 'task\d'.*classes"):
        make().partial_fit(X, first).partial_fit(X, Y)
    model = make().partial_fit(X, first, classes=[0, 1])
    assert model.n_positive_.tolist() == [0] * 6
    model.partial_fit(X, Y)
    np.testing.assert_array_equal(model.n_positive_, np.nansum(Y == 1, axis=0))
    assert [labels.tolist() for labels in model.classes_] == [[0, 1]] * 6


@quick
@pytest.mark.parametrize("change", [{"n_hidden": 17}, {"algorithm": "one_step"}])
def test_continuing_another_network_is_refused(data, change):
    model = make(warm_start=True).fit(*data).set_params(**change)
    with pytest.raises(ValueError, match=r"[Cc]lone"):
        model.fit(*data)
    with pytest.raises(ValueError, match=r"columns of y differ"):
        make(warm_start=True).fit(*data).fit(data[0], data[1][:, :3])


def test_early_stopping_keeps_the_best_epoch():
    X, Y, _, problem = make_subspace_tasks(400, 20, n_tasks=16, random_state=0)
    model = MultiTaskReLURepresentation(
        64,
        early_stopping=True,
        validation_fraction=0.25,
        max_iter=500,
        n_iter_no_change=15,
        random_state=0,
    ).fit(X, Y)
    scores = model.validation_scores_
    assert len(scores) == model.n_iter_ < 500
    X_test, Y_test = problem.sample(2000, random_state=1)
    assert model.score(X_test, Y_test) > 0.75


@quick
def test_early_stopping_scores_are_those_of_the_returned_weights(data):
    """Rows held out are found again from the random state."""
    X, Y = data
    model = make(early_stopping=True, n_components=None, max_iter=8).fit(X, Y)
    seed = np.random.RandomState(0).randint(2**31 - 1)
    _, held_out = train_test_split(np.arange(300), test_size=0.1, random_state=seed)
    best = model.score(X[held_out], Y[held_out])
    assert best == pytest.approx(model.validation_scores_.max())


@quick
def test_early_stopping_goes_on_with_the_same_rows(data):
    model = make(early_stopping=True, warm_start=True, random_state=None)
    model.fit(*data)
    seed = model._seed_
    model.fit(*data)
    assert len(model.validation_scores_) == model.n_iter_ == 8
    assert model._seed_ == seed
    model.set_params(early_stopping=False, warm_start=False).fit(*data)
    assert not hasattr(model, "validation_scores_")


@pytest.mark.parametrize("fraction", [0.02, 0.98])
def test_early_stopping_needs_rows_that_can_be_scored(fraction):
    X, y = np.random.default_rng(0).standard_normal((100, 3)), np.arange(100) < 2
    model = make(early_stopping=True, validation_fraction=fraction)
    with pytest.raises(ValueError, match=r"validation_fraction=.* no task shows both"):
        model.fit(X, y)


def test_training_that_is_cut_short_says_what_to_raise(data):
    with pytest.warns(ConvergenceWarning, match="max_iter=4.*Raise max_iter"):
        make().fit(*data)


def test_default_settings_are_silent(data, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MultiTaskReLURepresentation(16, random_state=0).fit(*data)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


@quick
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_verbose_shows_progress(data, algorithm, capsys):
    make(algorithm=algorithm, verbose=True).fit(*data)
    shown = capsys.readouterr().err
    assert "4/4" in shown
    assert algorithm == "one_step" or "loss=" in shown


@quick
@pytest.mark.parametrize("algorithm", ["alternating", "joint"])
def test_a_loss_that_diverges_is_an_error_and_keeps_the_last_fit(data, algorithm):
    X, Y = data
    model = make(algorithm=algorithm).fit(X, Y)
    before = {k: v for k, v in vars(model).items() if k.endswith("_")}
    model.set_params(learning_rate=1e30, weight_decay=0.0)
    with pytest.raises(ValueError, match=r"step \d+ of epoch \d+.*Lower learning_rate"):
        model.fit(X.astype(np.float32)[:, :5], Y)
    after = {k: v for k, v in vars(model).items() if k.endswith("_")}
    assert before.keys() == after.keys()
    assert all(before[k] is after[k] for k in before)
    model.transform(X)


@quick
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_failed_first_fit_leaves_an_unfitted_estimator(data, method):
    model = make()
    with pytest.raises(ValueError, match="no observed label"):
        getattr(model, method)(data[0], np.full_like(data[1], np.nan))
    with pytest.raises(NotFittedError):
        model.transform(data[0])
    assert not [name for name in vars(model) if name.endswith("_")]


class CtrlC:
    """Stands in for Ctrl-C, which comes at any line of a fit."""

    def __init__(self, at):
        self.calls, self.at = 0, at

    def __call__(self, *args):
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        return self.original(*args)


@quick
def test_ctrl_c_keeps_the_state_so_far(data, monkeypatch):
    interrupt = CtrlC(at=20)
    train_no_small_networks(monkeypatch)
    interrupt.original = _relu_descent.dropout_
    monkeypatch.setattr(_relu_descent, "dropout_", interrupt)
    model = make(batch_size=50, max_iter=10)
    with pytest.warns(UserWarning, match="interrupted in epoch 4 of 10"):
        model.fit(*data)
    assert model.n_iter_ == 3
    assert np.isfinite(model.transform(data[0])).all()


class RecordLoss(Callback):
    def initialize(self):
        self.losses = []
        return self

    def on_epoch_end(self, net, **kwargs):
        self.losses.append(net.history[-1]["train_loss"])


@quick
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_skorch_callbacks_are_called(data, algorithm):
    record = RecordLoss()
    model = make(algorithm=algorithm, callbacks=[record]).fit(*data)
    assert len(record.losses) == 4
    np.testing.assert_array_equal(record.losses, model.loss_curve_)


@quick
def test_skorch_early_stopping_ends_training(data):
    stop = EarlyStopping(
        monitor="train_loss", patience=1, threshold=10.0, threshold_mode="abs"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a callback that stops is no lack of epochs
        model = make(callbacks=[("stop", stop)], max_iter=50).fit(*data)
    assert model.n_iter_ < 5


@quick
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_verbose_shows_each_epoch(data, algorithm, capsys):
    make(algorithm=algorithm, verbose=True).fit(*data)
    shown = capsys.readouterr().err
    assert "4/4" in shown
    assert ("step" if algorithm == "one_step" else "epoch") in shown
    assert "loss=" in shown


class StopAfterTwo(Callback):
    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2:
            raise KeyboardInterrupt


@quick
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_callbacks_may_stop_a_fit(data, algorithm):
    model = make(algorithm=algorithm, callbacks=[StopAfterTwo()]).fit(*data)
    assert model.n_iter_ == len(model.loss_curve_) == 2
    twice = make(algorithm=algorithm, max_iter=2).fit(*data)
    for name in FITTED_ARRAYS:
        np.testing.assert_array_equal(getattr(model, name), getattr(twice, name))


@quick
def test_skorch_scoring_callbacks_get_predictions(data):
    seen = []

    def score(net, X, y=None):
        seen.append(net.history[-1, "batches", -1, "train_loss"])
        return 1.0

    callback = EpochScoring(score, name="mine", on_train=True)
    make(callbacks=[callback]).fit(*data)
    assert len(seen) == 4


def test_a_loss_that_falls_slowly_has_not_settled():
    """Waves on few features are learned slowly, near the loss of guessing."""
    rng = np.random.default_rng(2)
    X = rng.normal(size=(2000, 5))
    directions, phases = rng.normal(size=(5, 10)) / 5**0.5, rng.normal(size=10)
    Y = (np.sin(3 * X @ directions + phases) > 0).astype(float)
    train, test = slice(0, 1500), slice(1500, None)
    model = MultiTaskReLURepresentation(n_components=None, random_state=2)
    model.fit(X[train], Y[train])
    whole = clone(model).set_params(tol=0).fit(X[train], Y[train])
    assert model.score(X[test], Y[test]) > whole.score(X[test], Y[test]) - 0.01


@quick
def test_a_dead_network_is_told(data):
    """Steps of 1 with decay 1 take all weights to 0."""
    model = make(algorithm="joint", learning_rate=1.0, max_iter=5)
    with pytest.warns(ConvergenceWarning, match=r"network is dead.*[Ll]ower") as seen:
        model.fit(*data)
    assert np.ptp(model.transform(data[0]), axis=0).max() == 0
    assert any("dead" in str(warning.message) for warning in seen)


def test_rows_that_do_not_vary_are_no_sign_of_death(data, recwarn):
    X = np.ones_like(data[0])
    make(max_iter="auto").fit(X, data[1])
    make(max_iter="auto").fit(sparse.csr_array(X), data[1])
    assert not [w for w in recwarn if "dead" in str(w.message)]


@quick
def test_a_loss_that_exploded_is_told(data):
    with pytest.warns(ConvergenceWarning, match=r"exploded: it ended at .* 0\.693"):
        make(algorithm="joint", learning_rate=10.0, weight_decay=0.0).fit(*data)


def test_what_is_no_callback_is_refused(data):
    with pytest.raises(TypeError, match=r"skorch callbacks, got one with 3\. Pass"):
        make(callbacks=[3]).fit(*data)
    named = ("timer", EpochTimer())
    make(callbacks=[named, EpochTimer], max_iter="auto").fit(*data)
