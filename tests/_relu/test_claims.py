"""What the papers and the documentation claim, over several seeds with margins."""

import numpy as np
import pytest
from sklearn.cross_decomposition import PLSRegression
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn.datasets import make_subspace_tasks
from mtrl_sklearn.metrics import subspace_distance

SEEDS = [0, *(pytest.param(k, marks=pytest.mark.slow) for k in (1, 2))]


def fit_and_measure(seed, *, n_samples=2000, n_features=100, model=None, **problem):
    """Fitted model, and the distance of its leading directions from the truth."""
    X, Y, components, problem = make_subspace_tasks(
        n_samples, n_features, random_state=seed, **problem
    )
    model = (model or MultiTaskReLURepresentation(128)).set_params(random_state=seed)
    model.fit(X.astype(np.float32), Y)
    leading = np.linalg.svd(model.hidden_weights_)[2][: len(components)]
    return model, subspace_distance(leading, components), problem


def one_step(**parameters):
    return MultiTaskReLURepresentation(128, algorithm="one_step", **parameters)


def probe_accuracy(model, problem, seed, n_tasks=10):
    new = problem.new_tasks(n_tasks, random_state=seed)
    X, Y = new.sample(1100, random_state=seed)
    hidden = model.transform(X.astype(np.float32))
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
    return np.mean(
        [probe.fit(hidden[:100], y[:100]).score(hidden[100:], y[100:]) for y in Y.T]
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("algorithm", ["alternating", "joint", "one_step"])
def test_many_tasks_recover_the_subspace_and_one_cannot(algorithm, seed):
    model = MultiTaskReLURepresentation(128, algorithm=algorithm)
    rows = {"n_samples": 4000 if algorithm == "one_step" else 2000}
    _, many, _ = fit_and_measure(seed, model=model, n_tasks=64, **rows)
    _, single, _ = fit_and_measure(seed, model=model, n_tasks=1, **rows)
    assert many < 0.35
    assert single > 0.7


@pytest.mark.parametrize("seed", SEEDS)
def test_rank_is_found_and_truncation_helps(seed):
    """The probe of a new task, and the source tasks on new rows."""
    model, distance, problem = fit_and_measure(seed)
    assert distance < 0.25
    assert model.n_components_ == 4
    whole = MultiTaskReLURepresentation(128, n_components=None)
    whole, _, _ = fit_and_measure(seed, model=whole)
    truncated = probe_accuracy(model, problem, seed)
    assert truncated > probe_accuracy(whole, problem, seed) + 0.02
    assert truncated > 0.7
    X, Y = problem.sample(1000, random_state=seed)
    assert model.score(X, Y) > whole.score(X, Y) + 0.02


@pytest.mark.parametrize("seed", SEEDS)
def test_rank_is_found_in_a_thousand_dimensions(seed):
    model = MultiTaskReLURepresentation(256)
    fit_and_measure(seed, model=model, n_samples=4000, n_features=1000)
    assert model.n_components_ == 4


@pytest.mark.parametrize("seed", SEEDS)
def test_centring_rescues_unbalanced_tasks(seed, monkeypatch):
    settings = {"kind": "unbalanced", "n_samples": 8000, "n_components": 3}
    _, centred, _ = fit_and_measure(seed, model=one_step(), **settings)
    monkeypatch.setattr(
        "mtrl_sklearn._relu.one_step.centred_labels",
        lambda signs, mean, weights: signs.to(weights.dtype) * weights,
    )
    _, raw, _ = fit_and_measure(seed, model=one_step(), **settings)
    assert centred < 0.2
    assert raw > centred + 0.1


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("model", "n_samples"),
    [(MultiTaskReLURepresentation(128), 4000), (one_step(max_iter=3), 16000)],
    ids=["alternating", "one_step"],
)
def test_parities_that_no_linear_method_sees_are_recovered(model, n_samples, seed):
    settings = {"kind": "parity", "n_components": 3, "n_tasks": 32}
    settings |= {"n_samples": n_samples, "n_features": 40}
    _, distance, _ = fit_and_measure(seed, model=model, **settings)
    X, Y, components, _ = make_subspace_tasks(random_state=seed, **settings)
    linear = PLSRegression(3, scale=False).fit(X, Y).x_weights_.T
    assert distance < 0.4
    assert subspace_distance(linear, components) > 0.8


@pytest.mark.parametrize("seed", SEEDS)
def test_missing_labels_are_not_negative_labels(seed):
    X, Y, _, problem = make_subspace_tasks(
        1500, 60, missing_fraction=0.8, random_state=seed
    )
    X = X.astype(np.float32)
    masked = MultiTaskReLURepresentation(64, random_state=seed).fit(X, Y)
    filled = MultiTaskReLURepresentation(64, random_state=seed)
    filled.fit(X, np.nan_to_num(Y))
    X_test, Y_test = problem.sample(1000, random_state=seed)
    assert masked.score(X_test, Y_test) > filled.score(X_test, Y_test) + 0.02
