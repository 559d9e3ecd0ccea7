"""What a representation is compared with, and with which probes."""

import numpy as np
import pytest
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn.datasets import make_subspace_tasks
from mtrl_sklearn.probing import LinearProbe, probe_new_tasks


@pytest.fixture(scope="module")
def problem():
    return make_subspace_tasks(300, 12, n_components=3, n_tasks=12, random_state=0)


@pytest.fixture(scope="module")
def relu(problem):
    return MultiTaskReLURepresentation(16, random_state=0).fit(problem.X, problem.Y)


@pytest.fixture(scope="module")
def new(problem):
    tasks = problem.problem.new_tasks(3, random_state=1)
    return tasks.sample(160, random_state=2)


def probe(representation, X, Y, **parameters):
    return probe_new_tasks(representation, X, Y, random_state=0, **parameters)


def test_raw_baseline_is_a_probe_of_the_default_strength(relu):
    """Where all rows are drawn, and by log-loss, which shows the strength."""
    X = np.random.default_rng(0).standard_normal((80, 12))
    y = np.arange(80) % 2
    X[:, 0] += y
    is_test = np.arange(80) >= 40
    table = probe(
        relu,
        X,
        y,
        test_rows=is_test,
        shots=(40,),
        n_draws=1,
        baselines=("raw",),
        scoring="neg_log_loss",
    )
    fitted = LinearProbe().fit(X[~is_test], y[~is_test])
    expected = -log_loss(y[is_test], fitted.predict_proba(X[is_test]))
    raw = table[table["features"] == "raw"]["score"]
    np.testing.assert_allclose(raw, expected, rtol=1e-4)


def test_random_features_are_not_linear(problem):
    X = np.random.default_rng(0).standard_normal((600, 12))
    y = np.abs(X[:, 0]) > 0.7
    network = MultiTaskReLURepresentation(256, random_state=0)
    network.fit(problem.X, problem.Y)
    table = probe(network, X, y, shots=(300,), n_draws=2, probe=LinearProbe(C=100))
    means = table.groupby("features")["score"].mean()
    assert means["random"] > means["raw"] + 0.1


def test_probes_with_a_representation_of_their_own_are_refused(relu, new):
    other = MultiTaskReLURepresentation(16, random_state=1).fit(*new)
    for held in (
        LinearProbe(other),
        GridSearchCV(LinearProbe(relu), {"C": [1, 2]}),
    ):
        with pytest.raises(ValueError, match="representation of its own"):
            probe(relu, *new, probe=held)
    search = GridSearchCV(LinearProbe(), {"C": [1, 2]}, cv=2)
    assert len(probe(relu, *new, probe=search, shots=(8,), n_draws=1)) == 12
    assert len(probe(relu, *new, probe=LinearProbe(relu), shots=(8,), n_draws=1)) == 12
