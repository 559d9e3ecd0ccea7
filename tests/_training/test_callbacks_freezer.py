"""A parameter that requires no gradient does not move, and moves on once it does."""

import numpy as np
import pytest
from skorch.callbacks import Callback, Freezer, GradientNormClipping, Unfreezer

from mtrl_sklearn import ConvMultiTaskClassifier, MultiTaskReLURepresentation
from mtrl_sklearn._labels import signs as _signs
from mtrl_sklearn._training import adamw as _lazy_adamw
from mtrl_sklearn._training import checkpoint as _checkpoint

rng = np.random.default_rng(0)
X = rng.standard_normal((100, 5))
Y = np.where(rng.random((100, 4)) < 0.3, np.nan, X[:, :4] > 0)
IMAGES, CLASSES = rng.standard_normal((40, 1, 8, 8)), np.arange(40) % 2

RELU = ("hidden_weights", "hidden_biases", "task_coef", "task_intercept")
CONV = ("filters", "biases", "head_coef", "head_intercept")


def relu(algorithm="alternating", **parameters):
    return MultiTaskReLURepresentation(
        8,
        n_components=None,
        algorithm=algorithm,
        max_iter=4,
        tol=0,
        warm_start=True,
        random_state=0,
        **parameters,
    )


def conv(solver, **parameters):
    return ConvMultiTaskClassifier(
        4,
        solver=solver,
        max_iter=4,
        tol=0,
        warm_start=True,
        random_state=0,
        **parameters,
    )


MODELS = {
    "alternating": (relu, RELU, (X, Y)),
    "joint": (lambda: relu("joint"), RELU, (X, Y)),
    "adam": (lambda: conv("adam"), CONV, (IMAGES, CLASSES)),
    "gd": (lambda: conv("gd"), CONV, (IMAGES, CLASSES)),
}


def moved(model, before):
    return {
        name for name in before if not np.array_equal(model._state_[name], before[name])
    }


@pytest.mark.parametrize("frozen", range(4))
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore:Training ended at max_iter")
def test_exactly_what_is_frozen_stays(name, frozen):
    make, names, rows = MODELS[name]
    model = make().fit(*rows)
    start = {k: model._state_[k] for k in names}
    model.set_params(callbacks=[Freezer(names[frozen])])
    for method in ("fit", "partial_fit"):
        getattr(model, method)(*rows)
        assert moved(model, start) == {*names} - {names[frozen]}
    model.set_params(callbacks=None).fit(*rows)
    assert moved(model, start) == {*names}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore:Training ended at max_iter")
def test_a_network_that_is_frozen_for_some_epochs(name):
    class Record(Callback):
        def initialize(self):
            self.seen = []
            return self

        def on_epoch_end(self, net, **kwargs):
            values = [p.detach().clone() for p in net.module_.parameters()]
            self.seen.append(values)

    make, _, rows = MODELS[name]
    record = Record()
    model = make().fit(*rows)
    model.set_params(callbacks=[Freezer("*", at=2), Unfreezer("*", at=4), record])
    model.fit(*rows)
    first, second, third, last = record.seen
    assert all(map(np.array_equal, first, second))
    assert all(map(np.array_equal, first, third))
    assert not any(map(np.array_equal, first, last))


@pytest.mark.filterwarnings("ignore:Training ended at max_iter")
def test_heads_of_sparse_labels_stay(monkeypatch):
    """Both where all heads of a batch are updated and where they lag behind."""
    monkeypatch.setattr(_lazy_adamw, "MIN_SIZE", 0)
    tasks = np.arange(600) % 150
    rows = X[rng.integers(0, 100, 600)]
    labels = (np.arange(600) // 2 + tasks) % 2  # both of each task
    fits = []
    for density in (0.0, 1.0):
        monkeypatch.setattr(_signs, "MAX_DENSITY", density)
        model = relu(batch_size=30).fit(rows, labels, tasks)
        start = {k: model._state_[k] for k in RELU}
        model.set_params(callbacks=[Freezer("task_*", at=2), Unfreezer("*", at=4)])
        fits.append(model.fit(rows, labels, tasks).task_coef_)
        model.set_params(callbacks=[Freezer("task_*")])
        start = {k: model._state_[k] for k in RELU}
        model.fit(rows, labels, tasks)
        assert moved(model, start) == {"hidden_weights", "hidden_biases"}
    np.testing.assert_allclose(*fits, rtol=1e-7, atol=1e-10)


@pytest.mark.filterwarnings("ignore:Training ended at max_iter")
def test_a_fit_that_goes_on_from_a_file_stays_frozen(tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    class Kill(Callback):
        armed = True

        def on_epoch_begin(self, net, **kwargs):
            if len(net.history) == 3 and Kill.armed:
                raise Killed

    monkeypatch.setattr(_checkpoint, "SHARE_OF_WRITING", 1)
    callbacks = [Freezer("hidden_weights"), Kill()]
    model = relu(callbacks=callbacks, checkpoint=tmp_path / "fit")
    with pytest.raises(Killed):
        model.fit(X, Y)
    Kill.armed = False
    whole = relu(callbacks=callbacks).fit(X, Y)
    np.testing.assert_array_equal(
        model.fit(X, Y).hidden_weights_, whole.hidden_weights_
    )
    assert model.n_iter_ == 4


@pytest.mark.filterwarnings("ignore:Training ended at max_iter")
def test_gradients_of_gd_can_be_clipped():
    """A step is as long as the rate times the gradient while that is short."""
    start = conv("gd", learning_rate=1.0).fit(IMAGES, CLASSES)._state_
    model = conv("gd", learning_rate=1.0).fit(IMAGES, CLASSES)
    model.set_params(callbacks=[GradientNormClipping(1e-4)], max_iter=1)
    model.fit(IMAGES, CLASSES)
    size = start["optimizer.filters.step_size"]
    squares = [np.square(model._state_[k] - start[k]).sum() for k in CONV]
    assert np.sqrt(sum(squares)) == pytest.approx(
        1e-4 * size, rel=1e-4
    )  # torch adds 1e-6


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_one_step_tells_what_it_ignores(method):
    """It has no parameters to freeze, and no batches at which gradients are clipped."""
    model = MultiTaskReLURepresentation(8, algorithm="one_step", random_state=0)
    model.set_params(callbacks=[Freezer("*"), GradientNormClipping(1.0)])
    with pytest.warns(UserWarning, match="what Freezer, GradientNormClipping does"):
        getattr(model, method)(X, Y)
