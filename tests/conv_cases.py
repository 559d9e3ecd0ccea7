"""Data, parameters and comparisons that the tests of the network share."""

import numpy as np

from mtrl_sklearn import ConvMultiTaskClassifier
from mtrl_sklearn.datasets import make_patch_tasks

HEADS = ["shared", "fixed", "per_task"]
SOLVERS = ["gd", "adam"]
NETWORK = ["filters_", "biases_", "head_coef_", "head_intercept_"]
FITTED_ARRAYS = [*NETWORK, "loss_curve_"]
STEP = "convmultitaskclassifier"


def rows_of_patches():
    """Rows of 3 patches of 12 features, with 2 classes, of 4 tasks with names."""
    X, y, tasks, *_ = make_patch_tasks(
        20, 4, n_features=12, n_patches=3, noise_norm=1, random_state=0
    )
    return X, y, np.array(["ape", "bat", "cat", "dog"])[tasks]


def images_of_bars():
    """Images of 2 channels with a bright bar in one of 3 places, of 2 tasks."""
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    X = rng.integers(0, 80, (90, 2, 9, 8))
    for c in range(3):
        X[y == c, c % 2, 1 + 2 * c : 3 + 2 * c, 2:6] += 150
    return X.astype(np.uint8), y, rng.permutation(np.arange(90) % 2)


def make(**parameters):
    defaults = {"n_filters": 12, "max_iter": 15, "random_state": 0}
    return ConvMultiTaskClassifier(**{**defaults, **parameters})


def without_chance(**parameters):
    """A fit without any randomness but the initial weights."""
    return make(solver="gd", **parameters)


def assert_same_network(first, second, rtol=0.0, atol=0.0):
    for name in NETWORK:
        a, b = getattr(first, name), getattr(second, name)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=name)


def fitted(model):
    return {name: value for name, value in vars(model).items() if name[-1] == "_"}


def assert_untouched(model, before):
    after = fitted(model)
    assert before.keys() == after.keys()
    assert all(before[name] is after[name] for name in before)
