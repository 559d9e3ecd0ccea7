"""Fitted estimators of all kinds, which no bad input may change."""

import functools
import pickle
import re

import numpy as np
import pytest

from mtrl_sklearn import ConvMultiTaskClassifier, MultiTaskReLURepresentation
from mtrl_sklearn.probing import LinearProbe

QUIET = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:A column-vector"),
    pytest.mark.filterwarnings("ignore:X (has|does not have) (valid )?feature names"),
]

N = 40
NAN, INF = np.nan, np.inf
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, 5))
Y = (X @ RNG.standard_normal((5, 4)) > 0).astype(float)
y, ids = Y[:, 0], np.arange(N) % 2


def relu(**parameters):
    defaults = {"n_hidden": 4, "max_iter": 2, "random_state": 0}
    return MultiTaskReLURepresentation(**{**defaults, **parameters})


def conv(**parameters):
    defaults = {"n_filters": 4, "max_iter": 2, "random_state": 0}
    return ConvMultiTaskClassifier(**{**defaults, **parameters})


@functools.cache
def fitted():
    """Pickled estimators by name."""
    models = {
        "alternating": relu().fit(X, Y),
        "joint": relu(algorithm="joint").fit(X, Y),
        "one_step": relu(algorithm="one_step").fit(X, Y),
        "single": relu().fit(X, y),
        "long": relu().fit(X, y, ids),
        "gd": conv(solver="gd").fit(X, y, ids),
        "adam": conv(solver="adam").fit(X, y, ids),
        "per_task": conv(head="per_task").fit(X, y, ids),
        "columns": conv(head="per_task").fit(X, Y),
        "raw probe": LinearProbe().fit(X, y),
    }
    models["probe"] = LinearProbe(models["alternating"]).fit(X, y)
    models["conv probe"] = LinearProbe(models["gd"]).fit(X, y)
    return pickle.dumps(models)


def untouched_models():
    """Fitted estimators for a test, after which they have to be as they were."""
    models = pickle.loads(fitted())
    before = {name: content(model) for name, model in models.items()}
    yield models
    for name, model in models.items():
        assert_untouched(model, before[name], name)


def content(model):
    """Attributes of a model, and their bytes."""
    return {name: (value, pickle.dumps(value)) for name, value in vars(model).items()}


def assert_untouched(model, before, name="model"):
    after = vars(model)
    assert after.keys() == before.keys(), name
    for key, (value, stored) in before.items():
        assert after[key] is value, (name, key)
        assert pickle.dumps(value) == stored, (name, key)


def refused(call, words, what=""):
    """The call raises an error of scikit-learn's kind, with these words."""
    with pytest.raises((ValueError, TypeError)) as raised:
        pytest.fail(f"{what}: {call()!r} instead of an error with {words!r}")
    told = str(raised.value)
    assert re.search(words, told, re.DOTALL), (what, words, told[:500])
