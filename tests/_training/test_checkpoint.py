"""Fits that are killed, and go on from their checkpoint as if nothing had been."""

import os
import signal
import subprocess
import sys
import time
from copy import deepcopy

import numpy as np
import pytest
from conv_cases import assert_untouched, fitted, rows_of_patches
from relu_cases import quick, subspace_rows
from saved_cases import put_together, take_apart
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback, EarlyStopping, LRScheduler

from mtrl_sklearn import (
    ConvMultiTaskClassifier,
    MultiTaskReLURepresentation,
    load,
    save,
)
from mtrl_sklearn._group import Group
from mtrl_sklearn._training import checkpoint as _checkpoint
from mtrl_sklearn._training.checkpoint import Checkpoint, describe_callbacks, digest
from mtrl_sklearn._training.net import DescentNet

pytestmark = quick

EPOCHS = {"max_iter": 6, "random_state": 0}
RELU = {"n_hidden": 16, **EPOCHS}
CONV = {"n_filters": 12, **EPOCHS}
CASES = {
    "alternating": MultiTaskReLURepresentation(**RELU),
    "joint": MultiTaskReLURepresentation(**RELU, algorithm="joint", batch_size=40),
    "early stopping": MultiTaskReLURepresentation(
        **RELU, early_stopping=True, learning_rate=0.3
    ),
    "truncated": MultiTaskReLURepresentation(**RELU, n_components=2),
    "one step": MultiTaskReLURepresentation(**RELU, algorithm="one_step"),
    "gd": ConvMultiTaskClassifier(**CONV, solver="gd"),
    "adam": ConvMultiTaskClassifier(**CONV, solver="adam", batch_size=16),
    "adam, early stopping": ConvMultiTaskClassifier(
        **CONV, solver="adam", batch_size=16, early_stopping=True, learning_rate=0.3
    ),
}


class Killed(BaseException):
    """What stands for a signal that no fit can catch."""


class Kill(Callback):
    """Raise in one of the batches, or at the end of one of the epochs."""

    def __init__(self, batch=None, epoch=None):
        self.batch, self.epoch = batch, epoch

    def initialize(self):
        self.n_batches_ = self.n_epochs_ = 0
        return self

    def on_batch_end(self, net, **kwargs):
        self.n_batches_ += 1
        if self.n_batches_ == self.batch:
            raise Killed

    def on_epoch_end(self, net, **kwargs):
        self.n_epochs_ += 1
        if self.n_epochs_ == self.epoch:
            raise Killed


def die(model, *data, **at):
    """A fit that dies, by no callback of its own: these belong to a call."""
    kill = Kill(**at).initialize()
    notify = DescentNet.notify

    def notify_and_die(net, method, **kwargs):
        is_small = not net.callbacks  # one that goes before the network
        if method in ("on_batch_end", "on_epoch_end") and not is_small:
            getattr(kill, method)(net)
        notify(net, method, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DescentNet, "notify", notify_and_die)
        with pytest.raises(Killed):
            model.fit(*data)


@pytest.fixture(autouse=True)
def _write_after_each_epoch(monkeypatch):
    monkeypatch.setattr(_checkpoint, "SHARE_OF_WRITING", 1)


def data_of(model):
    if isinstance(model, ConvMultiTaskClassifier):
        return rows_of_patches()
    return subspace_rows()


def assert_same_fit(first, second):
    """Bit for bit: weights, curves, optimiser, random stream."""
    for model, other in ((first, second), (second, first)):
        for name, value in vars(model).items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(value, getattr(other, name), err_msg=name)
        for name, value in model._state_.items():
            np.testing.assert_array_equal(value, other._state_[name], err_msg=name)
    assert first._seed_ == second._seed_
    assert first.n_iter_ == second.n_iter_


def kill_steps(monkeypatch, model, at):
    """Make a fit die in its step ``at``, counted from where it goes on."""
    if getattr(model, "algorithm", None) == "one_step":
        from mtrl_sklearn._relu import one_step as _onestep

        with monkeypatch.context() as patch:
            steps = iter(range(1, 100))
            original = _onestep.add_rows

            def add_rows(*args):
                if next(steps) == at:
                    raise Killed
                return original(*args)

            patch.setattr(_onestep, "add_rows", add_rows)
            with pytest.raises(Killed):
                model.fit(*data_of(model))
    else:
        dying = clone(model)
        die(dying, *data_of(model), epoch=at)
        assert not hasattr(dying, "n_iter_")


@pytest.mark.parametrize("name", CASES)
def test_a_killed_fit_ends_as_if_it_had_not_been(name, tmp_path, monkeypatch):
    once = clone(CASES[name]).fit(*data_of(CASES[name]))
    model = clone(CASES[name]).set_params(checkpoint=tmp_path / "fit")
    for at in (1, 3, 2):
        kill_steps(monkeypatch, model, at)
    assert_same_fit(model.fit(*data_of(model)), once)


@pytest.mark.parametrize("name", ["joint", "adam"])
@pytest.mark.parametrize("batch", [1, 13])
def test_a_fit_may_be_killed_in_the_midst_of_an_epoch(name, batch, tmp_path):
    once = clone(CASES[name]).fit(*data_of(CASES[name]))
    model = clone(CASES[name]).set_params(checkpoint=tmp_path / "fit")
    die(clone(model), *data_of(model), batch=batch)
    assert_same_fit(model.fit(*data_of(model)), once)


@pytest.mark.parametrize("name", CASES)
def test_a_fit_that_ended_is_not_run_again(name, tmp_path, monkeypatch):
    model = clone(CASES[name]).set_params(checkpoint=str(tmp_path / "fit"))
    once = clone(model).fit(*data_of(model))
    kept = (tmp_path / "fit").read_bytes()
    monkeypatch.setattr(_checkpoint, "write_arrays", None)
    monkeypatch.setattr(DescentNet, "train_step", None)
    assert_same_fit(clone(model).fit(*data_of(model)), once)
    assert (tmp_path / "fit").read_bytes() == kept


def test_a_score_that_is_nan_is_no_best_one(tmp_path, monkeypatch):
    from mtrl_sklearn._relu import estimator as _relu

    model, data = clone(CASES["early stopping"]), subspace_rows()

    def score_by(*values):
        scores = iter(values)
        monkeypatch.setattr(_relu, "mean_roc_auc", lambda *args: next(scores))

    score_by(np.nan, 0.6, 0.7, 0.65, 0.6, 0.5)
    once = clone(model).fit(*data)
    model.set_params(checkpoint=tmp_path / "fit")
    score_by(np.nan, 0.6, 0.7)
    die(clone(model), *data, epoch=3)
    score_by(0.7, 0.65, 0.6, 0.5)
    assert_same_fit(model.fit(*data), once)
    save(once, tmp_path / "saved")
    assert np.isnan(load(tmp_path / "saved").validation_scores_[0])


def test_a_fit_that_converged_stays_converged(tmp_path):
    model = MultiTaskReLURepresentation(
        8, max_iter=50, tol=0.5, n_iter_no_change=2, random_state=0
    )
    once = clone(model).fit(*subspace_rows())
    model.set_params(checkpoint=tmp_path / "fit")
    assert 3 <= once.n_iter_ < 50
    for _ in range(2):
        assert_same_fit(clone(model).fit(*subspace_rows()), once)


def test_the_seed_is_that_of_the_first_start(tmp_path):
    model = clone(CASES["joint"]).set_params(
        checkpoint=tmp_path / "fit", random_state=None
    )
    die(clone(model), *subspace_rows(), epoch=3)
    seed = take_apart((tmp_path / "fit").read_bytes())[1]["content"]["seed"]
    once = clone(model).set_params(checkpoint=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(once, "_draw_seed", lambda resume, group: seed)
        once.fit(*subspace_rows())
    first = clone(model).fit(*subspace_rows())
    assert_same_fit(first, once)
    with pytest.warns(UserWarning, match=r"has ended.*random_state=None.*Remove"):
        again = clone(model).fit(*subspace_rows())
    assert_same_fit(first, again)


@pytest.mark.parametrize("name", ["joint", "one step", "adam"])
def test_a_folder_tells_seeds_apart(name, tmp_path):
    """In any order, and where a RandomState is shared by fits."""
    data, model = data_of(CASES[name]), clone(CASES[name])
    stream = np.random.RandomState(7)
    seeds = [0, 1, np.random.RandomState(0), np.random.RandomState(1), stream, stream]
    once = [clone(model).set_params(random_state=deepcopy(s)) for s in seeds[:4]]
    once += [model.set_params(random_state=stream)] * 2
    once = [deepcopy(m.fit(*data)) for m in once]
    after = stream.randint(1000)
    for _ in range(2):  # the second time from its files
        stream.seed(7)
        for seed, expected in zip(seeds, once):
            model.set_params(checkpoint=tmp_path, random_state=seed)
            if seed is not stream:
                model.set_params(random_state=deepcopy(seed))
            assert_same_fit(model.fit(*data), expected)
        assert stream.randint(1000) == after  # drawn from as without a checkpoint
    assert len(list(tmp_path.iterdir())) == 6


def test_a_file_is_of_one_state_of_a_random_stream(tmp_path):
    model = clone(CASES["joint"]).set_params(checkpoint=tmp_path / "fit")
    model.set_params(random_state=np.random.RandomState(0)).fit(*subspace_rows())
    others = [0, np.random.RandomState(1), model.random_state]  # the last has moved on
    for other in [*others, None]:
        with pytest.raises(ValueError, match=r"differs .* in random_state\. Remove"):
            clone(model).set_params(random_state=other).fit(*subspace_rows())
    clone(model).set_params(random_state=np.random.RandomState(0)).fit(*subspace_rows())


def test_a_folder_needs_a_seed(tmp_path):
    model = clone(CASES["joint"]).set_params(checkpoint=tmp_path, random_state=None)
    with pytest.raises(ValueError, match=r"random_state=None.*RandomState.*file"):
        model.fit(*subspace_rows())
    assert not list(tmp_path.iterdir())
    # what goes on from an earlier fit has a seed
    start = clone(CASES["joint"]).fit(*subspace_rows())
    start.set_params(checkpoint=tmp_path, random_state=None, warm_start=True)
    start.fit(*subspace_rows())
    assert len(list(tmp_path.iterdir())) == 1


def test_callbacks_belong_to_a_call(tmp_path):
    """In a search over callbacks each has a result of its own."""
    model = clone(CASES["joint"]).set_params(tol=0.0)
    given = [
        None,
        [EarlyStopping(monitor="train_loss", patience=2, threshold=0.9)],
        [("stop", EarlyStopping(monitor="train_loss", patience=4, threshold=0.9))],
    ]
    once = [clone(model).set_params(callbacks=c).fit(*subspace_rows()) for c in given]
    assert len({m.n_iter_ for m in once}) == 3
    model.set_params(checkpoint=tmp_path)
    for _ in range(2):
        for callbacks, expected in zip(given, once):
            again = clone(model).set_params(callbacks=callbacks)
            assert_same_fit(again.fit(*subspace_rows()), expected)
    model.set_params(checkpoint=next(tmp_path.iterdir()))
    with pytest.raises(ValueError, match="in callbacks"):
        model.set_params(callbacks=[EarlyStopping("train_loss", sink=repr)]).fit(
            *subspace_rows()
        )


def test_a_callback_is_told_by_class_and_settings():
    def describe(*callbacks):
        return describe_callbacks([*callbacks])

    fresh, used = Kill(batch=2), Kill(batch=2)
    used.initialize().on_batch_end(None)
    assert describe(fresh) == describe(used) == describe(Kill(batch=np.int64(2)))
    sinks = [EarlyStopping(sink=object()), EarlyStopping(sink=object())]
    assert describe(sinks[0]) == describe(sinks[1])  # no addresses
    others = [fresh, Kill(), Kill(2, 2), Kill, EarlyStopping(), ("name", fresh)]
    assert len({describe(other) for other in others}) == len(others)


def test_the_shape_of_inputs_belongs_to_a_call(tmp_path):
    """The same rows as patches of another length are another problem."""
    X, y, _ = rows_of_patches()
    model = clone(CASES["adam"]).set_params(kernel_size=1, pooling="sum")
    model.set_params(checkpoint=tmp_path)
    shapes = [(len(X), *shape) for shape in ((3, 12), (6, 6), (36,))]
    for shape in shapes:
        found = clone(model).fit(X.reshape(shape), y)
        assert found.input_shape_ == shape[1:]
        again = clone(model).fit(X.reshape(shape), y)
        assert_same_fit(found, again)
    assert len(list(tmp_path.iterdir())) == len(shapes)


class Twins(Group):
    """A group of two processes that have the same of everything."""

    n_ranks = 2

    def gather(self, value):
        return [value, value]


def test_ranks_with_the_same_rows_are_no_single_process(tmp_path):
    checkpoint = Checkpoint(tmp_path / "fit", {"random_state": "0", "X": "rows"})
    checkpoint.save(dict, np.zeros(1), np.empty(0), is_over=True)
    with pytest.raises(ValueError, match="in the number of ranks"):
        Checkpoint(tmp_path / "fit", {"random_state": "0", "X": "rows"}, group=Twins())


@pytest.mark.parametrize(
    "change",
    [{"call": None}, {"seed": -1}, {"seed": "0"}, {"is_over": 1}, "loss_curve"],
)
def test_a_hand_edited_checkpoint_is_refused(change, tmp_path):
    model = clone(CASES["joint"]).set_params(checkpoint=tmp_path / "fit")
    model.fit(*subspace_rows())
    table, about, body = take_apart((tmp_path / "fit").read_bytes())
    if change == "loss_curve":
        table["curve"] = table.pop(change)
    else:
        about["content"] |= change
    (tmp_path / "fit").write_bytes(put_together(table, about, body))
    with pytest.raises(ValueError, match="lacks a part of a checkpoint"):
        clone(model).fit(*subspace_rows())


def test_warm_start_goes_on_from_a_checkpoint(tmp_path):
    X, Y = subspace_rows()
    start = clone(CASES["joint"]).fit(X, Y).set_params(warm_start=True)
    save(start, tmp_path / "start")
    once = load(tmp_path / "start").fit(X, Y)
    dying = load(tmp_path / "start")
    die(dying.set_params(checkpoint=tmp_path / "fit"), X, Y, epoch=4)
    assert dying.n_iter_ == 6  # as it was
    model = load(tmp_path / "start").set_params(checkpoint=tmp_path / "fit")
    assert_same_fit(model.fit(X, Y), once)


CHANGES = {
    "X": lambda X, Y: (X + 1e-9, Y),
    "y": lambda X, Y: (X, np.where(Y == Y, 1 - Y, Y)),
    "rows": lambda X, Y: (X[::-1].copy(), Y[::-1].copy()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_data_are_refused(change, tmp_path):
    model = clone(CASES["joint"]).set_params(checkpoint=tmp_path / "fit")
    model.fit(*subspace_rows())
    what = {"rows": "X, y"}.get(change, change)
    with pytest.raises(
        ValueError, match=rf"checkpoint=.*differs .* in {what}\. Remove"
    ):
        clone(model).fit(*CHANGES[change](*subspace_rows()))


def test_other_parameters_are_refused_and_named(tmp_path):
    model = clone(CASES["joint"]).set_params(checkpoint=tmp_path / "fit")
    model.fit(*subspace_rows())
    before = fitted(model)
    model.set_params(learning_rate=1e-2, random_state=3)
    with pytest.raises(ValueError, match="in learning_rate, random_state"):
        model.fit(*subspace_rows())
    assert_untouched(model, before)
    model.set_params(learning_rate=1e-3, random_state=0)
    # these change no result
    model.set_params(verbose=False, output="scores", device="cpu").fit(*subspace_rows())


def test_a_file_of_anything_else_is_refused(tmp_path):
    path = tmp_path / "fit"
    model = clone(CASES["joint"])
    save(model, path)
    model.set_params(checkpoint=path)
    with pytest.raises(ValueError, match="fit"):
        model.fit(*subspace_rows())
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="fit"):
        model.fit(*subspace_rows())
    assert path.read_bytes() == b"not a checkpoint"


def test_a_folder_serves_a_search_that_is_killed(tmp_path):
    X, Y = subspace_rows()
    grid = {"learning_rate": [1e-3, 1e-2], "n_hidden": [4, 8]}
    model = MultiTaskReLURepresentation(max_iter=3, random_state=0)
    expected = GridSearchCV(model, grid, cv=2).fit(X, Y)
    model = clone(model).set_params(checkpoint=tmp_path)
    die(GridSearchCV(model, grid, cv=2), X, Y, epoch=2)
    assert len(list(tmp_path.iterdir())) == 1
    search = GridSearchCV(model, grid, cv=2).fit(X, Y)
    assert len(list(tmp_path.iterdir())) == 9  # 4 x 2, and the best one on all rows
    for name in ("mean_test_score", "params"):
        np.testing.assert_array_equal(
            search.cv_results_[name], expected.cv_results_[name]
        )
    assert_same_fit(search.best_estimator_, expected.best_estimator_)


PATHS = {
    "missing/fit": FileNotFoundError,
    "file/fit": NotADirectoryError,
}


@pytest.mark.parametrize("name", ["joint", "one step", "gd"])
@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_cannot_be_written_is_told_at_the_start(name, path, tmp_path):
    (tmp_path / "file").touch()
    model = clone(CASES[name]).set_params(checkpoint=tmp_path / path)
    if name != "one step":
        model.set_params(callbacks=[Kill(batch=1)])
    with pytest.raises(PATHS[path], match="fit"):
        model.fit(*data_of(model))


def test_a_device_is_no_checkpoint():
    model = clone(CASES["joint"]).set_params(checkpoint="/dev/full")
    with pytest.raises((ValueError, OSError), match="/dev/full"):
        model.fit(*subspace_rows())


def test_a_full_disk_is_told_at_the_start(tmp_path, monkeypatch):
    def fallocate(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", fallocate)
    model = clone(CASES["joint"]).set_params(
        checkpoint=tmp_path / "fit", callbacks=[Kill(batch=1)]
    )
    with pytest.raises(OSError, match="No space left") as error:
        model.fit(*subspace_rows())
    assert error.value.errno == 28
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_later_does_not_end_the_fit(tmp_path, monkeypatch):
    once = clone(CASES["joint"]).fit(*subspace_rows())
    original, calls = _checkpoint.write_arrays, []

    def write(*args):
        calls.append(args)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        original(*args)

    monkeypatch.setattr(_checkpoint, "write_arrays", write)
    model = clone(CASES["joint"]).set_params(checkpoint=tmp_path / "fit")
    with pytest.warns(UserWarning, match=r"not written after 3 epochs.*No space left"):
        model.fit(*subspace_rows())
    assert len(calls) == 6
    assert_same_fit(model, once)


def test_writing_takes_a_share_of_the_time(tmp_path, monkeypatch):
    monkeypatch.setattr(_checkpoint, "SHARE_OF_WRITING", 10)
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    written = []

    def write(path, arrays, about, kind):
        written.append(len(arrays["loss_curve"]))
        now[0] += 2

    monkeypatch.setattr(_checkpoint, "write_arrays", write)
    checkpoint = Checkpoint(tmp_path / "fit", {})
    for epoch in range(1, 31):
        now[0] += 1
        checkpoint.save(dict, np.zeros(epoch), np.empty(0), epoch == 30)
    assert written == [1, 19, 30]


def test_digests_tell_arrays_apart(tmp_path):
    X = np.arange(24.0).reshape(6, 4)
    mapped = np.memmap(tmp_path / "map", dtype=float, mode="w+", shape=X.shape)
    mapped[:] = X
    same = [X.copy(), np.asfortranarray(X), mapped, X.repeat(2, axis=0)[::2]]
    assert {digest(array) for array in same} == {digest(X)}
    others = [X.reshape(4, 6), X.astype(np.float32), X + 1, X[::-1], X.T, X[0], X[:, 0]]
    others += [sparse.csr_array(X), sparse.csr_array(X + 1), sparse.csr_array(X.T)]
    assert len({digest(array) for array in [X, *others]}) == len(others) + 1


def test_a_fit_that_a_callback_stopped_is_over(tmp_path):
    stop = EarlyStopping(monitor="train_loss", patience=2, threshold=0.9)
    model = clone(CASES["early stopping"]).set_params(max_iter=20, tol=0.0)
    model.set_params(checkpoint=tmp_path / "fit", callbacks=[stop])
    first, *others = (clone(model).fit(*subspace_rows()) for _ in range(3))
    assert first.n_iter_ < 20
    for other in others:
        assert_same_fit(first, other)


def test_schedules_of_skorch_are_refused(tmp_path):
    model = clone(CASES["joint"]).set_params(checkpoint=tmp_path / "fit")
    model.set_params(callbacks=[("schedule", LRScheduler())])
    with pytest.raises(ValueError, match=r"LRScheduler.*Remove one"):
        model.fit(*subspace_rows())


def test_numbers_of_numpy_are_the_same_call(tmp_path):
    model = clone(CASES["joint"]).set_params(checkpoint=tmp_path / "fit")
    first = clone(model).fit(*subspace_rows())
    again = model.set_params(learning_rate=np.float64(1e-3), max_iter=np.int64(6))
    assert_same_fit(again.fit(*subspace_rows()), first)


def test_a_folder_has_to_be_there():
    model = clone(CASES["joint"]).set_params(checkpoint="not/here/")
    with pytest.raises(FileNotFoundError, match=r"no folder.*not/here/"):
        model.fit(*subspace_rows())


@pytest.mark.parametrize("name", ["joint", "early stopping", "adam", "gd"])
def test_ctrl_c_in_the_first_epoch_keeps_what_there_is(name):
    class CtrlC(Callback):
        def on_batch_begin(self, net, **kwargs):
            raise KeyboardInterrupt

    model = clone(CASES[name]).set_params(callbacks=[CtrlC()])
    model.fit(*data_of(model))
    assert model.n_iter_ == 0
    assert np.isfinite(model.transform(data_of(model)[0])).all()


def test_ctrl_c_while_rows_are_scored(monkeypatch):
    from mtrl_sklearn._relu import estimator as _relu

    original, calls = _relu.mean_roc_auc, iter(range(1, 100))

    def score(*args):
        if next(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return original(*args)

    monkeypatch.setattr(_relu, "mean_roc_auc", score)
    with pytest.warns(UserWarning, match="interrupted in epoch 3 of 6"):
        model = clone(CASES["early stopping"]).fit(*subspace_rows())
    assert len(model.loss_curve_) == len(model.validation_scores_) == 2


KILLED_AT_ANY_MOMENT = """
import os, signal, sys, time, warnings
from pathlib import Path
import numpy as np
from mtrl_sklearn import MultiTaskReLURepresentation, save
from mtrl_sklearn._training import checkpoint as _checkpoint

warnings.simplefilter("ignore")
_checkpoint.SHARE_OF_WRITING = 1
folder = Path(sys.argv[1])
rng = np.random.default_rng(0)
X, Y = rng.standard_normal((400, 8)), rng.integers(0, 2, (400, 5))

def fit(result, **parameters):
    model = MultiTaskReLURepresentation(
        64, max_iter=40, tol=0, batch_size=20, early_stopping=True,
        n_iter_no_change=40, random_state=0, **parameters
    )
    save(model.fit(X, Y).set_params(checkpoint=None), folder / result)

def run_and_kill(seconds, *arguments, **parameters):
    pid = os.fork()
    if pid == 0:
        fit(*arguments, **parameters)
        os._exit(0)
    start = time.monotonic()
    while time.monotonic() < start + seconds:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return False
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return True

start = time.monotonic()
run_and_kill(100, "once")
seconds = (time.monotonic() - start) / 10
n_killed = 0
while run_and_kill(seconds, "again", checkpoint=folder / "fit"):
    n_killed += 1
    seconds *= 1.5
print(n_killed)
"""


def test_sigkill_at_any_moment(tmp_path):
    command = [sys.executable, "-c", KILLED_AT_ANY_MOMENT, str(tmp_path)]
    output = subprocess.check_output(command, timeout=120)
    assert int(output) > 3
    assert_same_fit(load(tmp_path / "once"), load(tmp_path / "again"))


def test_ctrl_c_keeps_the_last_step(monkeypatch):
    from mtrl_sklearn._relu import one_step as _onestep

    X, Y = subspace_rows()
    three = clone(CASES["one step"]).set_params(max_iter=3).fit(X, Y)
    original, calls = _onestep.add_rows, iter(range(1, 100))

    def add_rows(*args):
        if next(calls) == 4:
            signal.raise_signal(signal.SIGINT)
        return original(*args)

    monkeypatch.setattr(_onestep, "add_rows", add_rows)
    with pytest.warns(UserWarning, match="interrupted in epoch 4 of 6"):
        model = clone(CASES["one step"]).fit(X, Y)
    assert_same_fit(model, three)
    assert model.transform(X).shape == (300, 16)
