"""Ctrl-C: kept and told by a direct fit, raised everywhere else; one or the other."""

import signal

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback, EpochScoring

from mtrl_sklearn import ConvMultiTaskClassifier, MultiTaskReLURepresentation
from mtrl_sklearn._relu import head_decay as _head_decay
from mtrl_sklearn.probing import calibrate, source_task_transfer

rng = np.random.default_rng(0)
X = rng.standard_normal((120, 5)).astype(np.float32)
Y = (X[:, :4] + X[:, 1:] > 0).astype(float)
IMAGES, CLASSES = X[:, None, :4, None] * X[:, None, None, :4], Y[:, 0]


def relu(algorithm="alternating", **parameters):
    parameters = {"max_iter": 3, "tol": 0, "random_state": 0} | parameters
    return MultiTaskReLURepresentation(8, algorithm=algorithm, **parameters)


def conv(solver, **parameters):
    return ConvMultiTaskClassifier(
        4, solver=solver, max_iter=3, tol=0, random_state=0, **parameters
    )


MODELS = {
    "alternating": relu,
    "joint": lambda **p: relu("joint", **p),
    "one_step": lambda **p: relu("one_step", **p),
    "adam": lambda **p: conv("adam", **p),
    "gd": lambda **p: conv("gd", **p),
}
# what each of them calls once per update, or per step
INNERMOST = {
    "alternating": "_relu.descent.dropout_",
    "joint": "_relu.descent.dropout_",
    "one_step": "_relu.one_step.add_rows",
    "adam": "_conv.descent.evaluate",
    "gd": "_conv.descent.evaluate",
}


@pytest.fixture
def press_ctrl_c(monkeypatch):
    """Ctrl-C in a call of a function of the package; counts its calls."""

    def install(target, at=2):
        from importlib import import_module

        module, _, name = target.rpartition(".")
        module = import_module(f"mtrl_sklearn.{module}")
        original, calls = getattr(module, name), []

        def interrupted(*args, **kwargs):
            calls.append(name)
            if len(calls) == at:
                signal.raise_signal(signal.SIGINT)
            return original(*args, **kwargs)

        monkeypatch.setattr(module, name, interrupted)
        return calls

    return install


def rows_for(name):
    return (IMAGES, CLASSES) if name in ("adam", "gd") else (X, Y)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore:Training ended at max_iter")
def test_partial_fit_raises_and_keeps_the_earlier_state(name, press_ctrl_c):
    model = MODELS[name]().fit(*rows_for(name))
    before = dict(vars(model))
    press_ctrl_c(INNERMOST[name], at=1)
    with pytest.raises(KeyboardInterrupt):
        model.partial_fit(*rows_for(name))
    assert vars(model) == before  # the very same objects
    model.partial_fit(*rows_for(name))
    assert model.n_iter_ == 4


def search(model):
    return GridSearchCV(
        model, {"dropout": [0.1, 0.2]}, scoring=lambda *args: 0.0, cv=KFold(2)
    ).fit(X, Y)


class InAnother(MultiTaskReLURepresentation):
    def fit(self, X, Y, tasks=None):
        return super().fit(X, Y)


CALLS = {
    "search": search,
    "cross-validation": lambda model: cross_val_score(model, X, Y, scoring=len),
    "pipeline": lambda model: make_pipeline(StandardScaler(), model).fit(X, Y),
    "subclass": lambda model: search(
        InAnother(8, algorithm=model.algorithm, max_iter=3)
    ),
    "calibrate": lambda model: calibrate(model, X, Y, random_state=0),
    "sources": lambda model: source_task_transfer(model, X, Y, random_state=0),
}


@pytest.mark.parametrize("algorithm", ["alternating", "one_step"])
@pytest.mark.parametrize("call", CALLS)
def test_a_call_with_fits_inside_ends(call, algorithm, press_ctrl_c):
    calls = press_ctrl_c(INNERMOST[algorithm])
    with pytest.raises(KeyboardInterrupt):
        CALLS[call](relu(algorithm))
    assert len(calls) == 2


@pytest.mark.parametrize("make", [relu, lambda **p: InAnother(8, max_iter=3, **p)])
@pytest.mark.parametrize("method", ["fit", "fit_transform"])
def test_a_direct_call_keeps_what_there_is(make, method, press_ctrl_c, monkeypatch):
    monkeypatch.setattr(_head_decay, "FACTORS", ())
    model = make()
    press_ctrl_c(INNERMOST["alternating"], at=6 + 15)  # after a small network
    with pytest.warns(UserWarning, match="interrupted in epoch 2 of 3"):
        getattr(model, method)(X, Y)
    assert model.n_iter_ == 1


@pytest.mark.parametrize("name", ["alternating", "gd"])
def test_ctrl_c_inside_a_callback_is_no_wish_of_the_callback(name):
    def scoring(net, X, y):
        signal.raise_signal(signal.SIGINT)
        return 0.0

    class EndsTraining(Callback):
        def on_batch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    scored = EpochScoring(scoring, name="own", on_train=True)
    with pytest.raises(KeyboardInterrupt):
        MODELS[name](callbacks=[scored]).partial_fit(*rows_for(name))
    with pytest.warns(UserWarning, match="interrupted in epoch 2 of 3"):
        MODELS[name](callbacks=[scored]).fit(*rows_for(name))
    model = MODELS[name](callbacks=[EndsTraining()]).partial_fit(*rows_for(name))
    assert model.n_iter_ == 0


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("alternating", "_relu.estimator.hidden_features"),
        ("one_step", "_relu.estimator._network_attributes"),
        ("adam", "_conv.estimator.pool_rows"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.filterwarnings("ignore:Training ended at max_iter")
def test_ctrl_c_after_training_leaves_the_earlier_state(
    name, last, method, press_ctrl_c
):
    model = MODELS[name]().fit(*rows_for(name))
    before = dict(vars(model))
    press_ctrl_c(last, at=1)
    with pytest.raises(KeyboardInterrupt):
        getattr(model, method)(*rows_for(name))
    assert vars(model) == before
