"""The prior of probes that `fit` learns, and what it leaves alone."""

import joblib
import numpy as np
import pytest

from mtrl_sklearn import MultiTaskReLURepresentation, load, save
from mtrl_sklearn._relu import estimator as _estimator
from mtrl_sklearn._relu import probe_prior as _probe_prior
from mtrl_sklearn._relu import second_network as _second_network
from mtrl_sklearn.datasets import make_subspace_tasks
from tests.relu_cases import ALGORITHMS, train_no_small_networks

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"  # two epochs are enough here
)


def make(**parameters):
    return MultiTaskReLURepresentation(
        16, n_components=None, random_state=0, **({"max_iter": "auto"} | parameters)
    )


@pytest.fixture(scope="module")
def toxic():
    """Tasks that one direction drives, in the same sense, and of which few are rare."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 10))
    own = X @ rng.standard_normal((10, 20)) / 10**0.5
    scores = 1.5 * X[:, :1] + own + rng.logistic(size=own.shape) - 1.5
    Y = (scores > 0).astype(float)
    Y[rng.random(Y.shape) < 0.3] = np.nan
    return X, Y


def test_a_task_does_not_speak_for_itself():
    """Tasks of which none says anything of another, though each is predicted well."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((900, 4))
    model = make().fit(X, (X + 0.3 * rng.standard_normal(X.shape) > 0).astype(float))
    assert model.score(X, X > 0) > 0.9
    assert abs(model.probe_prior_["slope"]) < 0.1


def test_it_says_what_rows_say_that_were_not_trained_on(toxic):
    X, Y = toxic
    for parameters in ({}, {"early_stopping": True, "validation_fraction": 0.3}):
        found = make(**parameters).fit(X[:400], Y[:400]).probe_prior_
        assert found["slope"] > 0.8
        assert found["slope_spread"] <= 0.2
        assert -2.5 < found["intercept"] < -0.3
        assert 0.1 < found["centre"] < 0.5


def test_labels_of_noise_have_no_slope():
    """On rows that it was trained on, the network knows them."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 40))
    shared = rng.random((300, 1)) < 0.5
    Y = shared ^ (rng.random((300, 12)) < 0.1)  # of each other, not of X
    model = make(dropout=0.0, weight_decay=0.0).fit(X, Y)
    assert model.score(X, Y) > 0.9
    assert abs(model.probe_prior_["slope"]) < 0.25


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_all_else_is_as_without_it(toxic, algorithm, monkeypatch):
    X, Y = toxic
    ours = make(algorithm=algorithm, max_iter=2).fit(X, Y)
    again = make(algorithm=algorithm, max_iter=2).fit(X, Y)
    assert ours.probe_prior_ == again.probe_prior_
    monkeypatch.setattr(_estimator, "learn_probe_prior", lambda *arguments: None)
    plain = make(algorithm=algorithm, max_iter=2).fit(X, Y)
    assert not hasattr(plain, "probe_prior_")
    assert joblib.hash(vars(plain)) == joblib.hash(
        {k: v for k, v in vars(ours).items() if k != "probe_prior_"}
    )


def test_it_follows_the_fit(toxic, tmp_path):
    X, Y = toxic
    model = make(max_iter=2).fit(X, Y)
    first = model.probe_prior_
    save(model, tmp_path / "model.safetensors")
    assert load(tmp_path / "model.safetensors").probe_prior_ == first
    assert model.partial_fit(X, Y).probe_prior_ == first
    assert model.fit(X[:300], Y[:300]).probe_prior_ != first
    model.fit(X, Y[:, 0] == 1)  # a single task tells nothing of others
    assert not hasattr(model, "probe_prior_")
    assert not hasattr(make().partial_fit(X, Y), "probe_prior_")


def test_equal_rows_have_none():
    Y = np.arange(60).reshape(30, 2) // 2 % 2
    Y[:, 1] = np.arange(30) % 3 == 0
    model = make(max_iter=2)
    model.fit(np.ones((30, 4)), Y)
    assert not hasattr(model, "probe_prior_")


def test_rows_without_labels_of_the_tasks_looked_at_tell_none(monkeypatch):
    """Of many tasks few rows are looked at, and of these few tasks."""
    monkeypatch.setattr(_probe_prior, "MAX_PROBABILITIES", 1000)  # five rows
    monkeypatch.setattr(_probe_prior, "MAX_TASKS", 2)
    tasks = np.arange(800) % 200
    X, y = np.random.default_rng(0).standard_normal((800, 3)), np.arange(800) // 200 % 2
    model = make(max_iter=1).fit(X, y, tasks=tasks)
    assert not hasattr(model, "probe_prior_")
    assert model.n_tasks_ == 200


def test_ctrl_c_leaves_the_network_whole(toxic, monkeypatch):
    X, Y = toxic

    def press(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(_estimator, "train_second", press)
    train_no_small_networks(monkeypatch)
    expected = make(max_iter=2)
    with pytest.warns(UserWarning, match="interrupted while the prior of probes"):
        expected.fit(X, Y)
    assert not hasattr(expected, "probe_prior_")
    assert expected.transform(X).shape == (600, 16)


def test_rows_held_out_need_no_second_network(toxic, monkeypatch):
    X, Y = toxic
    monkeypatch.setattr(_second_network, "train_whole", None)
    assert make(early_stopping=True, max_iter=2).fit(X, Y).probe_prior_
    with pytest.raises(TypeError):
        make(max_iter=2).fit(X, Y)


@pytest.mark.parametrize(
    ("n_rows", "n_tasks", "parameters", "is_trained"),
    [
        (58, 1, {}, False),  # 29 to judge heads on
        (60, 1, {}, True),
        (58, 2, {}, True),  # for the prior
        (80, 1, {"loss": "hinge"}, True),  # for the decay of heads
        (80, 1, {"loss": "hinge", "weight_decay": 0.0}, False),
        (80, 2, {"loss": "hinge", "weight_decay": 0.0}, True),
    ],
)
def test_a_small_network_is_trained_where_it_may_tell_something(
    toxic, n_rows, n_tasks, parameters, is_trained, monkeypatch
):
    X, Y = toxic[0][:n_rows], (toxic[0] > 0)[:n_rows, :n_tasks].astype(float)
    expected = make(max_iter=2, **parameters).fit(X, Y)
    calls, train = [], _second_network.train_whole
    monkeypatch.setattr(
        _second_network, "train_whole", lambda *job: calls.append(1) or train(*job)
    )
    found = make(max_iter=2, **parameters).fit(X, Y)
    assert bool(calls) == is_trained
    monkeypatch.setattr(_second_network, "_may_tell", lambda *arguments: True)
    always = make(max_iter=2, **parameters).fit(X, Y)
    for model in (found, always):
        assert joblib.hash(vars(model)) == joblib.hash(vars(expected))


def test_many_tasks_of_one_subspace_disagree():
    """Half of them have the opposite sign, so that their mean counts for little."""
    X, Y, *_ = make_subspace_tasks(600, 20, n_tasks=24, random_state=0)
    assert abs(make().fit(X, Y).probe_prior_["slope"]) < 0.5
