"""Synthetic tasks of patches.

Tolerances of means are a few standard errors of draws, whose seeds are fixed: what is
drawn is the same on any processor.
"""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression

from mtrl_sklearn.datasets import make_patch_tasks

KINDS = ["linear", "symmetric"]


@pytest.fixture(params=KINDS)
def data(request):
    """Rows of four tasks with three patches each."""
    return make_patch_tasks(
        50, 4, n_features=40, n_patches=3, kind=request.param, random_state=0
    )


def all_directions(problem):
    return np.vstack([problem.shared_directions, *problem.task_directions])


def split_patches(X, problem):
    """Feature of each row (n_samples, n_features), noise patches, feature's place."""
    on_features = np.linalg.norm(X @ all_directions(problem).T, axis=2) > 1e-6
    assert (on_features.sum(axis=1) == 1).all()
    return X[on_features], X[~on_features], on_features.argmax(axis=1)


def test_shapes_and_values(data):
    X, y, tasks, is_shared, shared, own, problem = data
    n_directions = 1 if problem.kind == "linear" else 2
    assert X.shape == (200, 3, 40)
    assert X.dtype == np.float64
    assert y.dtype == tasks.dtype == np.int64
    assert is_shared.dtype == bool
    assert set(y) == {-1, 1}
    assert_array_equal(tasks, np.repeat(np.arange(4), 50))
    assert shared.shape == (n_directions, 40)
    assert own.shape == (4, n_directions, 40)
    assert shared is problem.shared_directions
    assert own is problem.task_directions


def test_directions_are_orthonormal(data):
    directions = all_directions(data.problem)
    assert_allclose(directions @ directions.T, np.eye(len(directions)), atol=1e-12)


def test_rows_carry_the_feature_that_is_shared_tells(data):
    X, y, tasks, is_shared, shared, own, problem = data
    features, _, _ = split_patches(X, problem)
    which = np.zeros(200, dtype=int) if problem.kind == "linear" else (y + 1) // 2
    expected = np.array(
        [
            0.35 * shared[c] if s else own[t, c]
            for c, s, t in zip(which, is_shared, tasks)
        ]
    )
    signs = np.sign((features * expected).sum(axis=1))
    assert_allclose(features, signs[:, None] * expected, atol=1e-12)
    if problem.kind == "linear":
        assert_array_equal(signs, y)
    else:
        assert 0.3 < (signs == y).mean() < 0.7


def test_noise_is_off_all_features_and_has_the_norm():
    X, _, _, _, _, _, problem = make_patch_tasks(
        400, 8, n_features=30, n_patches=4, noise_norm=2.5, random_state=0
    )
    _, noise, _ = split_patches(X, problem)
    assert noise.shape == (3 * 3200, 30)
    directions = all_directions(problem)
    assert np.abs(noise @ directions.T).max() < 1e-12
    # The squared norm is 2.5 ** 2 / 21 times a chi-square with 21 degrees of freedom.
    assert_allclose((noise**2).sum(axis=1).mean(), 2.5**2, rtol=0.015)
    isotropic = (np.eye(30) - directions.T @ directions) * 2.5**2 / 21
    assert_allclose(noise.T @ noise / len(noise), isotropic, atol=0.02)


def test_feature_is_at_a_random_place(data):
    _, y, _, is_shared, _, _, problem = data
    _, _, place = split_patches(data.X, problem)
    assert_allclose(np.bincount(place) / len(place), 1 / 3, atol=0.1)
    for other in (y, is_shared):
        assert abs(np.corrcoef(place, other)[0, 1]) < 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_symmetric_kind_has_no_mean(kind):
    X, y, _, is_shared, v, _, _ = make_patch_tasks(
        1000, 2, n_features=20, shared_strength=0.8, kind=kind, random_state=0
    )
    means = [X[y == label].sum(axis=1).mean(axis=0) for label in (-1, 1)]
    if kind == "symmetric":
        assert_allclose(means, 0, atol=0.15)
    else:
        assert_allclose(means[1] @ v[0], 0.8 * is_shared[y == 1].mean())
        assert_allclose(means[0] @ v[0], -0.8 * is_shared[y == -1].mean())


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_linear_kind_is_seen_by_linear_methods(kind):
    X, y, _, _, _, _, problem = make_patch_tasks(
        200, 4, n_features=30, shared_strength=0.8, kind=kind, random_state=0
    )
    test = problem.sample(200, random_state=0)
    model = LogisticRegression(C=100, max_iter=1000).fit(X.reshape(len(X), -1), y)
    accuracy = model.score(test.X.reshape(len(test.X), -1), test.y)
    assert accuracy > 0.95 if kind == "linear" else 0.4 < accuracy < 0.6


@pytest.mark.parametrize("n_samples", [1, 2, 7, 10])
def test_labels_are_balanced_in_each_task(n_samples):
    y = make_patch_tasks(n_samples, 300, n_features=400, random_state=0).y
    per_task = y.reshape(300, n_samples)
    assert_array_equal(np.abs(per_task.sum(axis=1)), n_samples % 2)
    assert abs(per_task.mean()) < 0.2  # chance decides who has one more
    assert_allclose(per_task.mean(axis=0), 0, atol=0.25)
    orders = np.unique(per_task, axis=0)
    assert len(orders) >= (2 if n_samples <= 2 else 40)


def test_shared_rows_are_independent_draws():
    is_shared = make_patch_tasks(
        40, 300, n_features=400, n_patches=1, shared_fraction=0.3, random_state=0
    ).is_shared.reshape(300, 40)
    assert_allclose(is_shared.mean(), 0.3, atol=0.02)
    assert_allclose(is_shared.sum(axis=1).var(), 40 * 0.3 * 0.7, rtol=0.3)


@pytest.mark.parametrize("fraction", [0, 1])
def test_extreme_shared_fractions(fraction):
    assert (make_patch_tasks(5, shared_fraction=fraction).is_shared == fraction).all()


def test_one_patch_has_no_noise():
    X, y, _, is_shared, v, _, _ = make_patch_tasks(
        20, 3, n_features=4, n_patches=1, shared_strength=2, random_state=0
    )
    assert X.shape == (60, 1, 4)
    assert_allclose(np.linalg.norm(X[:, 0], axis=1), np.where(is_shared, 2, 1))
    assert_allclose((X[:, 0] @ v[0])[is_shared], 2 * y[is_shared])


def test_sample_draws_other_rows_of_the_same_tasks(data):
    X, y, tasks, is_shared = data.problem.sample(50, random_state=0)
    assert X.shape == data.X.shape
    assert_array_equal(tasks, data.tasks)
    assert (y != data.y).any()
    assert (is_shared != data.is_shared).any()
    features, noise, _ = split_patches(X, data.problem)
    assert not np.isin(noise, split_patches(data.X, data.problem)[1]).any()
    assert_allclose(np.linalg.norm(features, axis=1), np.where(is_shared, 0.35, 1))
    again = data.problem.sample(50, random_state=0)
    assert_array_equal(again.X, X)
    other = split_patches(data.problem.sample(50, random_state=1).X, data.problem)
    assert not np.isin(other[1], noise).any()


def test_sample_with_another_shared_fraction_changes_features_only(data):
    part = data.problem.sample(30, random_state=0)
    none, full = (
        data.problem.sample(30, shared_fraction=p, random_state=0) for p in (0, 1)
    )
    assert not none.is_shared.any()
    assert full.is_shared.all()
    for other in (none, full):
        assert_array_equal(other.y, part.y)
        changed = other.is_shared != part.is_shared
        assert 0 < changed.sum() < len(changed)
        assert_array_equal(other.X[~changed], part.X[~changed])
        assert_array_equal(
            split_patches(other.X, data.problem)[1],
            split_patches(part.X, data.problem)[1],
        )


def test_new_tasks_keep_the_shared_feature_only(data):
    problem = data.problem
    new = problem.new_tasks(3, random_state=0)
    assert_array_equal(new.shared_directions, problem.shared_directions)
    assert new.task_directions.shape == (3, *problem.task_directions.shape[1:])
    directions = np.vstack([all_directions(problem), *new.task_directions])
    assert_allclose(directions @ directions.T, np.eye(len(directions)), atol=1e-12)
    again, other = problem.new_tasks(3, random_state=0), problem.new_tasks(3)
    assert_array_equal(again.task_directions, new.task_directions)
    assert (other.task_directions != new.task_directions).all()
    assert (new.kind, new.n_patches) == (problem.kind, problem.n_patches)
    X, _, tasks, is_shared = new.sample(20, random_state=0)
    assert set(tasks) == {0, 1, 2}
    features, noise, _ = split_patches(X, new)
    assert_allclose(np.linalg.norm(features, axis=1), np.where(is_shared, 0.35, 1))
    assert np.abs(noise @ problem.task_directions[0, 0]).max() > 0.1


def test_new_tasks_may_use_up_the_features():
    problem = make_patch_tasks(5, 4, n_features=10, random_state=0).problem
    new = problem.new_tasks(5, random_state=0)
    assert np.isfinite(new.sample(10, random_state=0).X).all()
    with pytest.raises(
        ValueError, match=r"n_tasks=6 new tasks and 4 old .* need 11 .*"
    ):
        problem.new_tasks(6)
    problem = make_patch_tasks(5, 4, n_features=13, kind="symmetric").problem
    with pytest.raises(ValueError, match=r"n_features=13 leaves room for 1 new tasks"):
        problem.new_tasks(2)
    problem.new_tasks(1)


@pytest.mark.parametrize("kind", KINDS)
def test_random_state(kind):
    def draw(seed):
        return make_patch_tasks(10, 3, n_features=20, kind=kind, random_state=seed)

    one, two, other = draw(5), draw(5), draw(6)
    for a, b in zip(one[:6], two[:6]):
        assert_array_equal(a, b)
    assert (one.shared_directions != other.shared_directions).all()
    assert (one.y != other.y).any()
    instance = np.random.RandomState(5)
    assert_array_equal(draw(instance).X, one.X)
    assert (draw(instance).shared_directions != one.shared_directions).all()
    assert (draw(None).shared_directions != draw(None).shared_directions).all()


def test_problem_is_frozen_and_has_a_short_repr():
    problem = make_patch_tasks(1, random_state=0).problem
    with pytest.raises(FrozenInstanceError):
        problem.kind = "symmetric"
    assert repr(problem) == (
        "PatchProblem(n_patches=2, shared_fraction=0.5, shared_strength=0.35, "
        "noise_norm=1.5, kind='linear')"
    )


def test_fewest_features():
    for kind, n_features in [("linear", 6), ("symmetric", 11)]:
        X = make_patch_tasks(9, 4, n_features=n_features, kind=kind).X
        assert np.isfinite(X).all()
        one = make_patch_tasks(9, 4, n_features=n_features - 1, kind=kind, n_patches=1)
        assert np.isfinite(one.X).all()
        with pytest.raises(ValueError, match=rf"n_features >= {n_features} or fewer"):
            make_patch_tasks(9, 4, n_features=n_features - 1, kind=kind)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_samples_per_task": 0}, "'n_samples_per_task' parameter .* Got 0"),
        ({"n_tasks": 0}, "'n_tasks' parameter .* Got 0"),
        ({"n_features": 2.5}, "'n_features' parameter .* Got 2.5"),
        ({"n_patches": 0}, "'n_patches' parameter .* Got 0"),
        ({"shared_fraction": 1.1}, "'shared_fraction' parameter .* Got 1.1"),
        ({"shared_fraction": None}, "'shared_fraction' parameter .* Got None"),
        ({"shared_strength": 0}, "'shared_strength' parameter .* Got 0"),
        ({"noise_norm": 0.0}, "'noise_norm' parameter .* Got 0.0"),
        ({"kind": "odd"}, "'kind' parameter .* Got 'odd'"),
        ({"random_state": "seed"}, "'random_state' parameter .* Got 'seed'"),
        (
            {"n_features": 17},
            r"16 tasks .*'linear' need 18 .*n_features=17\. Pass n_features >= 18",
        ),
        (
            {"n_features": 30, "kind": "symmetric"},
            r"need 35 .*\(2 per task, 2 shared, 1 for noise\)",
        ),
    ],
)
def test_parameter_errors(parameters, message):
    with pytest.raises(ValueError, match=message):
        make_patch_tasks(**parameters)


def test_method_errors():
    problem = make_patch_tasks(1, random_state=0).problem
    with pytest.raises(ValueError, match=r"'n_samples_per_task' parameter .* Got 0"):
        problem.sample(0)
    with pytest.raises(ValueError, match=r"'shared_fraction' parameter .* Got -1"):
        problem.sample(5, shared_fraction=-1)
    with pytest.raises(ValueError, match=r"'n_tasks' parameter .* Got 0"):
        problem.new_tasks(0)
