"""What the paper and the documentation claim of the network, over several seeds."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mtrl_sklearn import ConvMultiTaskClassifier
from mtrl_sklearn.datasets import make_patch_tasks
from mtrl_sklearn.metrics import feature_alignment, signal_to_noise

SEEDS = [0, *(pytest.param(k, marks=pytest.mark.slow) for k in (1, 2))]
SMALL = {"n_features": 100, "noise_norm": 1.2}
SYMMETRIC = {"kind": "symmetric", "n_samples_per_task": 120, "noise_norm": 1.4}


def make(seed, **parameters):
    defaults = {"n_filters": 48, "head": "fixed", "random_state": seed}
    return ConvMultiTaskClassifier(**{**defaults, **parameters})


def error(model, rows, chosen=slice(None)):
    """Share of rows that are not right; one without a finite score is not."""
    scores = model.decision_function(rows.X[chosen])
    return np.mean(~(rows.y[chosen] * scores > 0))


def alignment(model, directions):
    """Largest cosine of a filter with a direction or its opposite."""
    return feature_alignment(model.filters_, [*directions, *-directions]).max()


def single_task_errors(train, test, seed, n_tasks=3, **parameters):
    """On training rows, test rows, those with the shared feature, those without.

    Of networks that are trained on one task each, averaged; and their alignment.
    """
    found = []
    for k in range(n_tasks):
        own, rows = train.tasks == k, test.tasks == k
        model = make(seed, **parameters).fit(train.X[own], train.y[own])
        found.append(
            [
                error(model, train, own),
                error(model, test, rows),
                error(model, test, rows & test.is_shared),
                error(model, test, rows & ~test.is_shared),
                alignment(model, train.shared_directions),
            ]
        )
    return np.mean(found, axis=0)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("head", ["fixed", "shared"])
def test_many_tasks_learn_the_feature_that_one_task_cannot(head, seed):
    train = make_patch_tasks(60, 8, random_state=seed, **SMALL)
    test = train.problem.sample(300, random_state=seed)
    many = make(seed, head=head).fit(train.X, train.y, train.tasks)
    assert error(many, train) == 0
    assert error(many, test) < 0.03
    assert alignment(many, train.shared_directions) > 0.7
    on_train, on_test, on_shared, on_specific, aligned = single_task_errors(
        train, test, seed, head=head
    )
    assert on_train == 0
    assert 0.18 < on_test < 0.32
    assert 0.4 < on_shared < 0.6
    assert on_specific < 0.02
    assert aligned < 0.1


@pytest.mark.parametrize(
    ("problem", "seed"),
    [
        ({}, 0),
        pytest.param({}, 1, marks=pytest.mark.slow),
        pytest.param(SYMMETRIC, 0, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_sixteen_tasks_at_the_default_size(problem, seed):
    """With the defaults of the estimator, whose heads are trained."""
    train = make_patch_tasks(random_state=seed, **problem)
    test = train.problem.sample(100, random_state=seed)
    many = ConvMultiTaskClassifier(random_state=seed)
    many.fit(train.X, train.y, train.tasks)
    assert many.solver_ == "gd"
    assert error(many, train) == 0
    assert error(many, test) < 0.03
    assert alignment(many, train.shared_directions) > 0.7
    on_train, on_test, on_shared, on_specific, aligned = single_task_errors(
        train, test, seed, n_tasks=6, n_filters=64, head="shared"
    )
    assert on_train == 0
    assert 0.18 < on_test < 0.32
    assert 0.4 < on_shared < 0.6
    assert on_specific < 0.02
    assert aligned < 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_adam_finds_the_same(seed):
    train = make_patch_tasks(random_state=seed)
    test = train.problem.sample(100, random_state=seed)
    many = make(seed, solver="adam").fit(train.X, train.y, train.tasks)
    assert error(many, train) == 0
    assert error(many, test) < 0.03
    assert alignment(many, train.shared_directions) > 0.7
    on_train, on_test, *_ = single_task_errors(train, test, seed, 6, solver="adam")
    assert on_train == 0
    assert 0.15 < on_test < 0.35


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_gained_are_rows(seed):
    """One task with as many rows does as well, and no penalty is needed for it."""
    single = make_patch_tasks(480, 1, random_state=seed, **SMALL)
    test = single.problem.sample(1000, random_state=seed)
    for weight_decay in ("auto", 0.0):
        model = make(seed, weight_decay=weight_decay).fit(single.X, single.y)
        assert error(model, single) == 0
        assert error(model, test) < 0.03
        assert alignment(model, single.shared_directions) > 0.7


@pytest.mark.parametrize("seed", SEEDS)
def test_heads_of_tasks_bring_no_gain(seed):
    train = make_patch_tasks(60, 8, random_state=seed, **SMALL)
    test = train.problem.sample(100, random_state=seed)
    model = make(seed, head="per_task").fit(train.X, train.y, train.tasks)
    assert model.score(train.X, train.y, train.tasks) == 1
    assert model.score(test.X, test.y, test.tasks) > 0.97


def draw_settings(low, high, seed):
    """Settings whose shared feature has a signal to noise between bounds."""
    rng = np.random.default_rng(seed)
    while True:
        n_samples, n_tasks = int(rng.integers(20, 80)), int(rng.integers(1, 9))
        features = {
            "shared_fraction": rng.uniform(0.4, 0.6),
            "shared_strength": rng.uniform(0.25, 0.5),
            "noise_norm": rng.uniform(1, 1.5),
        }
        ratios = signal_to_noise(n_samples, n_tasks, power=3, **features)
        if low < ratios.shared < high and ratios.specific > 4:
            n_features = n_tasks + 2 + int(6 * np.sqrt(n_samples * n_tasks))
            return n_samples, n_tasks, {**features, "n_features": n_features}


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(k, marks=pytest.mark.slow) for k in (2, 3, 4))]
)
@pytest.mark.parametrize(("low", "high"), [(0, 1.5), (4, 20)])
def test_signal_to_noise_tells_whether_the_shared_feature_is_learned(low, high, seed):
    """Between 1.5 and 4 nothing is claimed."""
    n_samples, n_tasks, settings = draw_settings(low, high, seed)
    train = make_patch_tasks(n_samples, n_tasks, random_state=seed, **settings)
    size = -(-2000 // n_tasks)
    test = train.problem.sample(size, shared_fraction=1, random_state=seed)
    model = make(seed).fit(train.X, train.y, train.tasks)
    assert error(model, train) == 0
    if high < 4:
        assert 0.4 < error(model, test) < 0.6
    else:
        assert error(model, test) < 0.03


def probe_error(transform, problem, n_labels, seed):
    """Error of logistic regression on new tasks, averaged over draws of labels."""
    errors = []
    for draw in range(10):
        new = problem.new_tasks(1, random_state=100 * seed + draw)
        rows = new.sample(n_labels + 300, shared_fraction=1, random_state=draw)
        features = transform(rows.X)
        features = features / features.std()  # one global scale
        probe = LogisticRegression().fit(features[:n_labels], rows.y[:n_labels])
        errors.append(1 - probe.score(features[n_labels:], rows.y[n_labels:]))
    return np.mean(errors)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("seed", SEEDS)
def test_filters_of_many_tasks_solve_a_new_one(seed):
    settings = {**SYMMETRIC, "noise_norm": 1.2, "n_tasks": 8}
    train = make_patch_tasks(random_state=seed, **settings)
    many = make(seed, head="shared").fit(train.X, train.y, train.tasks)
    own = train.tasks == 0
    single = make(seed, head="shared").fit(train.X[own], train.y[own])
    untrained = make(seed, learning_rate=1e-12, max_iter=1).fit(train.X, train.y)
    assert probe_error(many.transform, train.problem, 16, seed) < 0.06
    for n_labels in (32, 64):
        assert probe_error(many.transform, train.problem, n_labels, seed) < 0.03
    for transform in (
        single.transform,
        untrained.transform,
        lambda X: X.reshape(len(X), -1),
    ):
        assert probe_error(transform, train.problem, 32, seed) > 0.4
