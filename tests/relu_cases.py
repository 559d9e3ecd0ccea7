"""Data and parameters that the tests of the representation share."""

import numpy as np
import pytest

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn._relu import estimator as _estimator
from mtrl_sklearn._relu.head_decay import HeadDecay
from mtrl_sklearn.datasets import make_subspace_tasks

ALGORITHMS = ["alternating", "joint", "one_step"]
FITTED_ARRAYS = [
    "hidden_weights_",
    "hidden_biases_",
    "task_coef_",
    "task_intercept_",
    "components_",
    "singular_values_",
    "loss_curve_",
]
quick = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def subspace_rows():
    X, Y, _, _ = make_subspace_tasks(
        300, 12, n_components=2, n_tasks=6, missing_fraction=0.3, random_state=0
    )
    return X, Y


def make(**parameters):
    defaults = {"n_hidden": 16, "max_iter": 4, "random_state": 0}
    return MultiTaskReLURepresentation(**{**defaults, **parameters})


def to_long(X, Y):
    rows, columns = np.nonzero(~np.isnan(Y))
    return X[rows], Y[rows, columns], np.array([f"task{k}" for k in columns])


def train_no_small_networks(monkeypatch):
    """Leave out what comes before the network, so that calls can be counted."""
    monkeypatch.setattr(
        _estimator, "choose_head_decay", lambda *arguments: HeadDecay(1.0, None)
    )
