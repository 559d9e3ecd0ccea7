"""A solver is one entry in a table; what every fit can do it gets by that alone."""

import inspect
import pickle
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from relu_cases import ALGORITHMS, FITTED_ARRAYS, make, quick, subspace_rows
from sklearn.utils._param_validation import InvalidParameterError
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    Freezer,
    GradientNormClipping,
    LRScheduler,
    TrainEndCheckpoint,
)

from mtrl_sklearn._arrays.precision import resolve_precision
from mtrl_sklearn._relu import one_step as _one_step
from mtrl_sklearn._relu import solvers as _solvers
from mtrl_sklearn._relu.descent import Descent, MultiTaskNet
from mtrl_sklearn._relu.gradients import (
    hidden_layer,
    representation_gradients,
    task_scores,
)
from mtrl_sklearn._relu.options import resolve_options
from mtrl_sklearn._relu.rank_choice import choose_rank
from mtrl_sklearn._relu.solvers import SOLVERS, solve
from mtrl_sklearn._relu.task_data import count_labels
from mtrl_sklearn._training import checkpoint as _checkpoint
from mtrl_sklearn._training.gradients import head_gradients
from mtrl_sklearn._training.job import FitJob
from mtrl_sklearn._training.net import kind_of_callback, train

pytestmark = quick

X, Y = subspace_rows()


class ToyNet(MultiTaskNet):
    """Takes plain gradient steps, of both layers at once."""

    def initialize_optimizer(self, triggered_directly=None):
        parameters = self.module_.parameters()
        self.optimizer_ = torch.optim.SGD(parameters, self.learning_rate)
        return self

    @torch.no_grad()
    def train_step(self, batch, **fit_params):
        X, signs = batch
        weights, biases, coef, intercept = parameters = [*self.module_.parameters()]
        inputs = self.module_.normalize(X)
        hidden = hidden_layer(inputs, weights, biases)
        scores = task_scores(hidden, coef, intercept, signs)
        labels = self.criterion_.read(signs, None, batch.part.n_rows)
        gradient = self.criterion_.gradient(scores, labels)
        loss, *gradients = self.group.sum(
            self.criterion_.value(scores, labels),
            *representation_gradients(inputs, hidden, gradient, coef, 1.0),
            *head_gradients(hidden, gradient),
        )
        self.update(batch, tuple(parameters), tuple(gradients))
        return {"loss": loss, "y_pred": scores}

    def on_epoch_end(self, net, **kwargs):
        """Nothing lags behind."""

    on_train_end = on_epoch_end


@pytest.fixture
def toy(monkeypatch):
    """Enters a solver, and makes estimators with it."""
    monkeypatch.setitem(SOLVERS, "toy", Descent(ToyNet))

    def make_toy(**parameters):
        settings = {"learning_rate": 0.5, "tol": 0, "n_components": None}
        return make(algorithm="toy", **(settings | parameters))

    return make_toy


@pytest.fixture(params=[*SOLVERS, "toy"])
def algorithm(request, toy):
    return request.param


def assert_same_fit(first, second):
    for name in FITTED_ARRAYS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


class Record(Callback):
    """What is called, and what the history has at each epoch."""

    def initialize(self):
        self.calls, self.losses = [], []
        return self

    def on_train_begin(self, net, **kwargs):
        self.calls.append("train")

    def on_epoch_begin(self, net, **kwargs):
        self.calls.append("begin")

    def on_epoch_end(self, net, **kwargs):
        self.calls.append("end")
        self.losses.append(net.history[-1]["train_loss"])

    def on_train_end(self, net, **kwargs):
        self.calls.append("trained")


class Stop(Callback):
    """End training after its second epoch."""

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2:
            raise KeyboardInterrupt


class Killed(Exception):
    pass


class Kill(Callback):
    """End a fit as an error does, once two epochs were run."""

    armed = True

    def on_epoch_begin(self, net, **kwargs):
        if len(net.history) == 3 and Kill.armed:
            raise Killed


def test_the_example_for_contributors_is_the_one_tested():
    text = Path(__file__).parents[2].joinpath("CONTRIBUTING.md").read_text("utf-8")
    assert f"\n{inspect.getsource(ToyNet)}\n" in text
    assert 'SOLVERS["toy"] = Descent(ToyNet)' in text


def test_estimators_know_the_algorithms_in_the_table():
    assert list(SOLVERS) == ALGORITHMS


@pytest.mark.parametrize("name", ["toy", "two_steps", ["joint"], None])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_what_is_not_in_the_table_is_refused(method, name):
    with pytest.raises(InvalidParameterError, match="'algorithm' parameter"):
        getattr(make(algorithm=name), method)(X, Y)


def test_a_solver_is_taken_out_again(toy):
    toy().fit(X, Y)
    del SOLVERS["toy"]
    with pytest.raises(InvalidParameterError, match="'one_step'"):
        toy().fit(X, Y)


def test_all_train_a_network_from_the_same_job(algorithm):
    data = count_labels(X, np.nan_to_num(2 * Y - 1), "observed")
    parameters = make(algorithm=algorithm, n_components=2).get_params()
    precision = resolve_precision("auto", X.dtype, "cpu")
    options = resolve_options(parameters, data.n_inputs, precision)
    job = FitJob(data, None, 0, "cpu", [])
    solution, again = solve(job, options), solve(job, options)
    assert solution.first_layer.hidden_weights.shape == (16, 12)
    assert solution.first_layer.components.shape == (2, 12)
    assert solution.heads.task_coef.shape == (6, 16)
    assert solution.loss_curve.shape == (4,)
    assert not solution.interrupted
    for one, other in (
        (solution.first_layer, again.first_layer),
        (solution.heads, again.heads),
    ):
        for name, array in one._asdict().items():
            assert np.isfinite(array).all()
            np.testing.assert_array_equal(array, getattr(other, name), err_msg=name)
    state = pickle.loads(pickle.dumps(solution.state))
    assert all(isinstance(array, np.ndarray) for array in state.values())
    later = solve(job._replace(state=state), options)
    whole = solve(job, options._replace(max_epochs=8))
    np.testing.assert_array_equal(
        np.r_[solution.loss_curve, later.loss_curve], whole.loss_curve
    )


def test_fit_learns_the_tasks(toy):
    model = toy(max_iter=60).fit(X, Y)
    assert model.loss_curve_[-1] < 0.8 * model.loss_curve_[0]
    assert model.score(X, Y) > 0.8
    assert model.transform(X).shape == (300, 16)
    settled = toy(max_iter="auto", tol=0.5, n_iter_no_change=2).fit(X, Y)
    assert settled.n_iter_ < 200


def test_partial_fit_is_an_epoch_of_more_rows(toy):
    straight, pickled = toy(), toy()
    for rows in (slice(150), slice(150, 300)):
        straight.partial_fit(X[rows], Y[rows])
        pickled.partial_fit(X[rows], Y[rows])
        pickled = pickle.loads(pickle.dumps(pickled))
    assert straight.n_iter_ == 2
    assert_same_fit(straight, pickled)


@pytest.mark.parametrize("n_components", [None, 2])
def test_warm_start_goes_on(toy, n_components):
    settings = {"n_components": n_components, "warm_start": True}
    parts = toy(max_iter=3, **settings).fit(X, Y).fit(X, Y)
    assert_same_fit(parts, toy(max_iter=6, **settings).fit(X, Y))


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_fit_that_was_killed_goes_on_from_its_file(
    algorithm, early_stopping, tmp_path, monkeypatch
):
    monkeypatch.setattr(_checkpoint, "SHARE_OF_WRITING", 1)
    monkeypatch.setattr(Kill, "armed", True)
    record = Record()
    settings = {"algorithm": algorithm, "early_stopping": early_stopping}
    model = make(**settings, callbacks=[record, Kill()], checkpoint=tmp_path / "fit")
    with pytest.raises(Killed):
        model.fit(X, Y)
    assert not hasattr(model, "n_iter_")
    assert len(record.losses) == 2
    monkeypatch.setattr(Kill, "armed", False)
    model.fit(X, Y)
    assert len(record.losses) == 2  # the other two of four
    whole = make(**settings).fit(X, Y)
    assert_same_fit(model, whole)
    assert model._state_.keys() == whole._state_.keys()
    for name, array in whole._state_.items():
        np.testing.assert_array_equal(model._state_[name], array, err_msg=name)


def test_callbacks_are_called_at_each_epoch(algorithm):
    record = Record()
    model = make(algorithm=algorithm, callbacks=[record]).fit(X, Y)
    assert record.calls == ["train", *["begin", "end"] * 4, "trained"]
    np.testing.assert_array_equal(record.losses, model.loss_curve_)
    model.partial_fit(X, Y)
    assert record.calls == ["train", "begin", "end", "trained"]
    assert record.losses == model.loss_curve_[4:].tolist()


def test_a_callback_that_stops_a_fit_keeps_its_network(algorithm):
    settings = {"algorithm": algorithm, "tol": 0}
    model = make(**settings, callbacks=[Stop()], warm_start=True).fit(X, Y)
    assert_same_fit(model, make(**settings, max_iter=2).fit(X, Y))
    model.set_params(callbacks=None, max_iter=2).fit(X, Y)
    assert_same_fit(model, make(**settings).fit(X, Y))


def test_verbose_shows_progress(algorithm, capsys):
    make(algorithm=algorithm, verbose=True).fit(X, Y)
    shown = capsys.readouterr().err
    assert "4/4" in shown
    assert "loss=" in shown


def press_ctrl_c_in(monkeypatch, owner, name, at):
    original, calls = getattr(owner, name), []

    def interrupted(*args, **kwargs):
        calls.append(name)
        if len(calls) == at:
            signal.raise_signal(signal.SIGINT)
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, interrupted)


def test_ctrl_c_keeps_the_state_so_far(toy, monkeypatch):
    model = toy(batch_size=100)  # three batches, after four of a small network
    press_ctrl_c_in(monkeypatch, ToyNet, "train_step", at=4 + 8)
    with pytest.warns(UserWarning, match="interrupted in epoch 3 of 4"):
        model.fit(X, Y)
    assert model.n_iter_ == 2
    assert np.isfinite(model.transform(X)).all()


def test_ctrl_c_in_partial_fit_leaves_the_earlier_fit(toy, monkeypatch):
    model = toy().fit(X, Y)
    before = dict(vars(model))
    press_ctrl_c_in(monkeypatch, ToyNet, "train_step", at=2)
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(X, Y)
    assert vars(model) == before


@pytest.mark.parametrize("at", ["fit", "partial_fit"])
def test_batches_can_be_watched_where_there_are_any(toy, at):
    rows = []

    class Rows(Callback):
        def on_batch_end(self, net, batch, y_pred, **kwargs):
            rows.append(len(batch[0]))
            assert y_pred.shape == (len(batch[0]), 6)

    clip = GradientNormClipping(1e-9)  # after which nothing moves
    model = toy(batch_size=100, callbacks=[Rows(), clip])
    getattr(model, at)(X, Y)
    assert rows == [100] * 3 * model.n_iter_
    np.testing.assert_allclose(model._state_["task_coef"], 0, atol=1e-7)


@pytest.mark.parametrize(
    "callback",
    [
        GradientNormClipping(1.0),
        ("clip", GradientNormClipping(1.0)),
        BatchScoring("roc_auc", on_train=True),
        EpochScoring("roc_auc", on_train=True),
        LRScheduler(),
        Checkpoint(monitor=None),
        TrainEndCheckpoint(),
        Freezer("hidden_weights"),
        EarlyStopping("train_loss", load_best=True),
    ],
)
def test_one_step_tells_of_callbacks_that_need_a_descent(callback, tmp_path):
    record = Record()
    name = kind_of_callback(callback).__name__
    model = make(algorithm="one_step", callbacks=[record, callback])
    with pytest.warns(UserWarning, match=f"no batches.*: what {name} does with these"):
        model.fit(X, Y)
    np.testing.assert_array_equal(record.losses, model.loss_curve_)
    assert_same_fit(model, make(algorithm="one_step").fit(X, Y))


def test_one_step_is_watched_by_what_needs_no_batches(tmp_path):
    stop = EarlyStopping("train_loss", patience=1, threshold=1e9, threshold_mode="abs")
    model = make(algorithm="one_step", callbacks=[stop]).fit(X, Y)
    assert model.n_iter_ == 2
    with pytest.raises(ValueError, match="only a descent by fit with early_stopping"):
        make(
            algorithm="one_step", early_stopping=True, callbacks=[EarlyStopping()]
        ).fit(X, Y)


class StopAt(Callback):
    """Ends training at one of the calls."""

    def __init__(self, name):
        setattr(self, name, self.stop)

    def stop(self, net, **kwargs):
        raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["on_train_begin", "on_epoch_begin"])
def test_one_step_that_is_stopped_before_its_first_step_has_no_network(name):
    model = make(algorithm="one_step", callbacks=[StopAt(name)])
    with pytest.raises(ValueError, match="before its first step"):
        model.fit(X, Y)
    assert not hasattr(model, "n_iter_")


def test_a_stop_outside_of_epochs_keeps_the_fit(algorithm, tmp_path):
    settings = {"algorithm": algorithm, "tol": 0}
    whole = make(**settings).fit(X, Y)
    end = StopAt("on_train_end")
    assert_same_fit(make(**settings, callbacks=[end]).fit(X, Y), whole)
    if SOLVERS[algorithm].is_descent:
        begin, path = StopAt("on_train_begin"), tmp_path / "fit"
        model = make(**settings, callbacks=[begin], verbose=True, checkpoint=path)
        assert model.fit(X, Y).n_iter_ == 0


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_one_step_computes_in_float32(precision, monkeypatch):
    allowed = []

    def watch(net, rows, operations, allow_tf32):
        allowed.append(allow_tf32)
        return train(net, rows, operations, allow_tf32)

    monkeypatch.setattr(_solvers, "train", watch)
    make(algorithm="one_step", precision=precision).fit(X, Y)
    assert allowed == [False] * 2  # the second for the strength of heads and for probes


@pytest.mark.parametrize("name", ["one_step", "alternating"])
def test_ctrl_c_in_the_search_for_a_rank_keeps_the_network(name, monkeypatch):
    """Even in its first step, in which a second network is not there yet."""

    def choose(trained, data, rank, state, retrain):
        target, method = {
            "one_step": (_one_step, "add_rows"),
            "alternating": (MultiTaskNet, "train_step"),
        }[name]
        press_ctrl_c_in(monkeypatch, target, method, at=1)
        assert retrain(data) is None
        return choose_rank(trained, data, None, state, None)

    monkeypatch.setattr(_solvers, "choose_rank", choose)
    model = make(algorithm=name)
    with pytest.warns(UserWarning, match="after all 4 epochs, while the rank"):
        model.fit(X, Y)
    assert model.n_iter_ == 4


def test_only_moments_that_there_will_be_are_reserved(tmp_path, monkeypatch):
    sizes = []
    monkeypatch.setattr(
        _checkpoint, "reserve_space", lambda path, size: sizes.append(size)
    )
    for name in ("one_step", "joint"):
        path = tmp_path / name
        make(algorithm=name, checkpoint=path).fit(X, Y)
        assert path.stat().st_size < sizes[-1] < 2.5 * path.stat().st_size + 20_000


def test_a_second_training_calls_nobody(algorithm, monkeypatch):
    """Which "auto" may need to find a rank."""
    again, calls = [], []

    class Count(Callback):
        def on_epoch_end(self, net, **kwargs):
            calls.append(len(net.history))

    def choose(trained, data, rank, state, retrain):
        again.append(retrain(data))
        return choose_rank(trained, data, None, state, None)

    monkeypatch.setattr(_solvers, "choose_rank", choose)
    model = make(algorithm=algorithm, callbacks=[Count()]).fit(X, Y)
    assert calls == [1, 2, 3, 4]
    network, *_ = again  # of the same rows and seed; others are of smaller networks
    assert network.weights.shape == model.hidden_weights_.shape
    scaled = network.weights.detach() / network.input_scale
    np.testing.assert_allclose(scaled, model.hidden_weights_)
