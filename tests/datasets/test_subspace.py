"""Synthetic tasks with a shared subspace, and tasks made of digits.

Tolerances of means are a few standard errors of draws, whose seeds are fixed: what is
drawn is the same on any processor.
"""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_val_score
from sklearn.svm import SVC

from mtrl_sklearn.datasets import (
    make_corrupted_digits,
    make_digit_tasks,
    make_subspace_tasks,
)
from mtrl_sklearn.datasets._common import _generator, _orthonormal_rows

CORRUPTIONS = ["clean", "noise", "blur", "contrast", "shift"]
KINDS = ["balanced", "unbalanced", "parity", "even"]


def cells_of(problem, X):
    """Cell of each row in the truth tables, by the documented rule."""
    bits = X @ problem.components.T > 0
    return np.array([sum(2**k for k, bit in enumerate(row) if bit) for row in bits])


def sign_patterns(n_components):
    """Signs of every cell, of shape (2 ** n_components, n_components)."""
    cells = np.arange(2**n_components)
    return np.array(
        [[1 if c >> k & 1 else -1 for k in range(n_components)] for c in cells]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_subspace_shapes_and_values(kind):
    X, Y, components, problem = make_subspace_tasks(
        300, 12, n_components=3, n_tasks=7, kind=kind, random_state=0
    )
    assert X.shape == (300, 12)
    assert Y.shape == (300, 7)
    assert components.shape == (3, 12)
    assert X.dtype == Y.dtype == np.float64
    assert problem.kind == kind
    assert set(np.unique(Y)) == {0.0, 1.0}
    assert_allclose(components @ components.T, np.eye(3), atol=1e-12)
    assert_array_equal(problem.components, components)


def test_inputs_are_standard_normal():
    X = make_subspace_tasks(20_000, 5, n_tasks=1, random_state=0).X
    assert_allclose(X.mean(axis=0), 0, atol=0.04)
    assert_allclose(np.cov(X.T), np.eye(5), atol=0.05)


def test_components_are_uniformly_distributed():
    first = [
        make_subspace_tasks(
            1, 3, n_components=2, n_tasks=1, random_state=seed
        ).components
        for seed in range(300)
    ]
    assert_allclose(
        np.mean(first, axis=0), 0, atol=0.12
    )  # without the signs of R: -0.5
    assert_allclose(np.mean(np.square(first), axis=0), 1 / 3, atol=0.08)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_the_truth_table_of_the_signs(kind):
    X, Y, _, problem = make_subspace_tasks(
        200, 10, n_components=4, n_tasks=9, kind=kind, random_state=1
    )
    assert_array_equal(Y, problem.truth_tables.T[cells_of(problem, X)])


def test_labels_depend_on_the_projection_only():
    X, Y, components, problem = make_subspace_tasks(200, 10, random_state=0)
    noise = np.random.default_rng(0).normal(size=X.shape)
    off_subspace = noise - noise @ components.T @ components
    assert_array_equal(problem.label(X + 10 * off_subspace), Y)
    assert (problem.label(X + 10 * noise) != Y).mean() > 0.2


def test_balanced_tables_have_half_of_the_cells():
    tables = make_subspace_tasks(
        1, 9, n_components=4, random_state=0
    ).problem.truth_tables
    assert tables.shape == (64, 16)
    assert (tables.sum(axis=1) == 8).all()
    assert len(np.unique(tables, axis=0)) > 60
    assert_allclose(tables.mean(axis=0), 0.5, atol=0.25)  # no cell is preferred


def test_unbalanced_tables_have_any_number_of_cells():
    tables = make_subspace_tasks(
        1, 9, n_components=3, n_tasks=400, kind="unbalanced", random_state=0
    ).problem.truth_tables
    assert set(tables.sum(axis=1)) == set(range(1, 8))
    assert_allclose(tables.mean(axis=0), 0.5, atol=0.1)


def test_parity_tables_are_products_of_two_signs():
    tables = make_subspace_tasks(
        1, 9, n_components=3, n_tasks=200, kind="parity", random_state=0
    ).problem.truth_tables
    s = sign_patterns(3)
    products = {
        tuple(sign * s[:, a] * s[:, b] > 0)
        for a, b in [(0, 1), (0, 2), (1, 2)]
        for sign in (-1, 1)
    }
    assert {tuple(table) for table in tables} == products


@pytest.mark.parametrize("n_components", [2, 3, 4])
def test_even_tables_are_balanced_and_even(n_components):
    tables = make_subspace_tasks(
        1, 9, n_components=n_components, kind="even", random_state=0
    ).problem.truth_tables
    s = sign_patterns(n_components)
    mirror = [int(np.flatnonzero((s == -row).all(axis=1))[0]) for row in s]
    assert_array_equal(tables, tables[:, mirror])
    assert (tables.sum(axis=1) == 2 ** (n_components - 1)).all()
    assert len(np.unique(tables, axis=0)) >= 2


@pytest.mark.parametrize("kind", KINDS)
def test_only_even_kinds_are_invisible_to_linear_methods(kind):
    X, Y, _, _ = make_subspace_tasks(
        20_000, 6, n_components=3, n_tasks=20, kind=kind, random_state=0
    )
    covariance = np.linalg.norm((Y - Y.mean(axis=0)).T @ X / len(X), axis=1)
    if kind in ("parity", "even"):
        assert covariance.max() < 0.03
    else:
        assert covariance.max() > 0.2


def test_one_component_gives_both_orientations():
    tables = make_subspace_tasks(
        1, 1, n_components=1, n_tasks=50, random_state=0
    ).problem.truth_tables
    assert {tuple(table) for table in tables} == {(True, False), (False, True)}


def test_sample_draws_other_rows_of_the_same_tasks():
    X, _, _, problem = make_subspace_tasks(100, 8, n_tasks=5, random_state=0)
    X_more, Y_more = problem.sample(60, random_state=0)
    assert X_more.shape == (60, 8)
    assert_array_equal(Y_more, problem.label(X_more))
    assert not np.isin(X_more, X).any()
    again, _ = problem.sample(60, random_state=0)
    assert_array_equal(again, X_more)
    assert not np.isin(problem.sample(60, random_state=1)[0], X_more).any()


@pytest.mark.parametrize("kind", KINDS)
def test_new_tasks_share_components_but_not_tables(kind):
    problem = make_subspace_tasks(
        1, 10, n_components=4, kind=kind, random_state=0
    ).problem
    new = problem.new_tasks(64, random_state=0)
    assert new.kind == kind
    assert_array_equal(new.components, problem.components)
    assert new.truth_tables.shape == problem.truth_tables.shape
    assert (new.truth_tables != problem.truth_tables).mean() > 0.2
    again = problem.new_tasks(64, random_state=0)
    assert_array_equal(again.truth_tables, new.truth_tables)
    X, Y = new.sample(30, random_state=0)
    assert_array_equal(Y, new.truth_tables.T[cells_of(problem, X)])


def test_one_seed_gives_unrelated_numbers_for_different_purposes():
    rows, again, tasks = (
        _generator(0, purpose).random(100) for purpose in ("rows", "rows", "tasks")
    )
    assert_array_equal(rows, again)
    assert not np.isin(rows, tasks).any()


def test_orthonormal_rows_stay_off_given_ones():
    rng = np.random.default_rng(0)
    off = _orthonormal_rows(4, 9, rng)
    rows = _orthonormal_rows(5, 9, rng, off=off)
    both = np.vstack([off, rows])
    assert_allclose(both @ both.T, np.eye(9), atol=1e-12)
    draws = [_orthonormal_rows(1, 9, rng, off=off)[0] for _ in range(500)]
    assert_allclose(np.mean(draws, axis=0), 0, atol=0.1)  # either sign
    covariance = (np.eye(9) - off.T @ off) / 5  # no direction is preferred
    assert_allclose(np.cov(np.transpose(draws)), covariance, atol=0.1)


def test_same_seed_gives_the_same_rows_to_old_and_new_tasks():
    problem = make_subspace_tasks(1, 10, random_state=0).problem
    X, _ = problem.sample(20, random_state=3)
    X_new, _ = problem.new_tasks(5).sample(20, random_state=3)
    assert_array_equal(X, X_new)


def test_missing_fraction_hides_labels_at_random():
    complete = make_subspace_tasks(2000, 5, n_tasks=20, random_state=0)
    X, Y, _, problem = make_subspace_tasks(
        2000, 5, n_tasks=20, missing_fraction=0.3, random_state=0
    )
    missing = np.isnan(Y)
    assert_allclose(missing.mean(), 0.3, atol=0.01)
    assert_allclose(missing.mean(axis=0), 0.3, atol=0.05)
    assert abs(np.corrcoef(missing.ravel(), complete.Y.ravel())[0, 1]) < 0.02
    assert_array_equal(X, complete.X)
    assert_array_equal(Y[~missing], complete.Y[~missing])
    _, Y_more = problem.sample(2000, missing_fraction=0.7, random_state=0)
    assert_allclose(np.isnan(Y_more).mean(), 0.7, atol=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_subspace_random_state(kind):
    def draw(seed):
        return make_subspace_tasks(
            50, 8, kind=kind, missing_fraction=0.2, random_state=seed
        )

    one, two, other = draw(5), draw(5), draw(6)
    for a, b in zip(one[:3], two[:3]):
        assert_array_equal(a, b)
    assert not np.isin(one.X, other.X).any()
    assert (np.abs(one.components - other.components) > 1e-6).all()
    assert (one.problem.truth_tables != other.problem.truth_tables).any()
    instance = np.random.RandomState(5)
    assert_array_equal(draw(instance).X, one.X)
    assert not np.isin(draw(instance).X, one.X).any()  # the instance moved on
    assert not np.isin(draw(None).X, draw(None).X).any()


def test_problem_is_frozen_and_has_a_short_repr():
    problem = make_subspace_tasks(1, 4, random_state=0).problem
    with pytest.raises(FrozenInstanceError):
        problem.kind = "even"
    assert repr(problem) == "SubspaceProblem(kind='balanced')"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_samples": 0}, "'n_samples' parameter .* Got 0"),
        ({"n_features": 2.5}, "'n_features' parameter .* Got 2.5"),
        ({"n_tasks": 0}, "'n_tasks' parameter .* Got 0"),
        ({"n_components": 0}, "'n_components' parameter .* Got 0"),
        ({"n_components": 17}, "'n_components' parameter .* Got 17"),
        ({"kind": "odd"}, "'kind' parameter .* Got 'odd'"),
        ({"missing_fraction": 1.0}, "'missing_fraction' parameter .* Got 1.0"),
        ({"missing_fraction": -0.1}, "'missing_fraction' parameter .* Got -0.1"),
        ({"random_state": "seed"}, "'random_state' parameter .* Got 'seed'"),
        ({"n_features": 3}, "n_components=4 .* n_features=3 .*Pass n_components <="),
        (
            {"kind": "parity", "n_components": 1},
            "kind='parity' needs n_components >= 2",
        ),
        ({"kind": "even", "n_components": 1}, "kind='even' needs n_components >= 2"),
    ],
)
def test_subspace_parameter_errors(parameters, message):
    with pytest.raises(ValueError, match=message):
        make_subspace_tasks(**parameters)


def test_problem_method_errors():
    problem = make_subspace_tasks(1, 5, random_state=0).problem
    with pytest.raises(ValueError, match=r"X has 4 features, .* defined on 5"):
        problem.label(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="X contains NaN"):
        problem.label(np.full((2, 5), np.nan))
    with pytest.raises(ValueError, match="'n_samples' parameter"):
        problem.sample(0)
    with pytest.raises(ValueError, match="'missing_fraction' parameter"):
        problem.sample(5, missing_fraction=1)
    with pytest.raises(ValueError, match="'n_tasks' parameter"):
        problem.new_tasks(-1)


def splits_of(Y, digits):
    """Which digits each task calls positive, of shape (n_tasks, 10)."""
    splits = np.array([np.nanmax(Y[digits == digit], axis=0) for digit in range(10)]).T
    lowest = np.array([np.nanmin(Y[digits == digit], axis=0) for digit in range(10)]).T
    assert_array_equal(lowest, splits)  # labels are a function of the digit
    return splits


def test_digits_are_those_of_scikit_learn():
    X, Y, Y_new, digits = make_digit_tasks(random_state=0)
    images, target = load_digits(return_X_y=True)
    assert_array_equal(X, images)
    assert_array_equal(digits, target)
    assert X.dtype == Y.dtype == Y_new.dtype == np.float64
    assert Y.shape == (1797, 40)
    assert Y_new.shape == (1797, 20)
    assert not np.isnan(Y_new).any()


@pytest.mark.parametrize(("n_tasks", "n_new_tasks"), [(40, 20), (100, 26), (126, 0)])
def test_digit_splits_are_distinct_halves(n_tasks, n_new_tasks):
    _, Y, Y_new, digits = make_digit_tasks(
        n_tasks, n_new_tasks=n_new_tasks, random_state=0
    )
    assert Y.shape[1] == n_tasks
    assert Y_new.shape[1] == n_new_tasks
    splits = splits_of(np.hstack([Y, Y_new]), digits)
    assert (splits.sum(axis=1) == 5).all()
    with_complements = np.vstack([splits, 1 - splits])
    assert len(np.unique(with_complements, axis=0)) == 2 * (n_tasks + n_new_tasks)
    assert 0.3 < splits[:, 0].mean() < 0.7  # random orientation


def test_digit_missing_fraction():
    complete = make_digit_tasks(missing_fraction=0, random_state=0)
    assert not np.isnan(complete.Y).any()
    Y = make_digit_tasks(missing_fraction=0.8, random_state=0).Y
    assert_allclose(np.isnan(Y).mean(), 0.8, atol=0.01)
    assert_array_equal(Y[~np.isnan(Y)], complete.Y[~np.isnan(Y)])


def test_digit_random_state():
    one, two = make_digit_tasks(random_state=3), make_digit_tasks(random_state=3)
    for a, b in zip(one, two):
        assert_array_equal(a, b)
    other = make_digit_tasks(random_state=4)
    used, drawn = splits_of(one.Y_new, one.digits), splits_of(other.Y_new, one.digits)
    up_to_complement = np.vstack([used, drawn, 1 - used, 1 - drawn])
    assert len(np.unique(up_to_complement, axis=0)) > 2 * len(used)
    fewer = make_digit_tasks(n_new_tasks=5, random_state=3)
    assert_array_equal(fewer.Y, one.Y)  # new tasks leave the source tasks alone


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_tasks": 107}, "n_tasks=107 and n_new_tasks=20 ask for 127 splits"),
        ({"n_tasks": 0}, "'n_tasks' parameter .* Got 0"),
        ({"n_new_tasks": -1}, "'n_new_tasks' parameter .* Got -1"),
        ({"missing_fraction": 1.5}, "'missing_fraction' parameter .* Got 1.5"),
    ],
)
def test_digit_parameter_errors(parameters, message):
    with pytest.raises(ValueError, match=message):
        make_digit_tasks(**parameters)


def corrupted(n_samples_per_task=359, seed=0):
    """Images (n_samples, 8, 8) and digits of each corruption, by name."""
    X, y, tasks = make_corrupted_digits(n_samples_per_task, random_state=seed)
    return {name: (X[tasks == name, 0], y[tasks == name]) for name in CORRUPTIONS}


def test_corrupted_digits_shapes_and_values():
    X, y, tasks = make_corrupted_digits(30, random_state=0)
    assert X.shape == (150, 1, 8, 8)
    assert X.dtype == np.float32
    assert y.dtype.kind == "i"
    assert_array_equal(np.unique(y), np.arange(10))
    assert tasks.tolist() == np.repeat(CORRUPTIONS, 30).tolist()
    assert X.min() == 0
    assert X.max() == 16
    for images, _ in corrupted().values():
        assert images.min() >= 0
        assert images.max() <= 16
        assert (images.std(axis=(1, 2)) > 0).all()


def test_corrupted_digits_are_different_images_with_their_labels():
    images, target = load_digits(return_X_y=True)
    parts = corrupted()
    clean, y = parts["clean"]
    copies = (clean.reshape(-1, 1, 64) == images.astype(np.float32)).all(axis=2)
    assert (copies.sum(axis=1) == 1).all()
    chosen = copies.argmax(axis=1)
    assert len(set(chosen)) == 359
    assert_array_equal(target[chosen], y)
    # The fullest tasks leave two images, so that digits hardly have a choice.
    used = np.bincount(np.concatenate([y for _, y in parts.values()]))
    unused = np.bincount(target) - used
    assert unused.min() >= 0
    assert unused.sum() == 2


def test_shifted_digits_are_crops_of_padded_digits():
    images = np.pad(load_digits().images, [(0, 0), (1, 1), (1, 1)])
    crops = np.array(
        [images[:, i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
    )
    shifted = corrupted(40)["shift"][0]
    matches = (shifted[:, None, None] == crops).all(axis=(3, 4))
    assert matches.any(axis=(1, 2)).all()
    offsets = matches.any(axis=2).argmax(axis=1)
    assert set(offsets // 3) == set(offsets % 3) == set(range(3))


def test_corruptions_do_what_they_say():
    images = {name: X for name, (X, _) in corrupted().items()}
    spread = {name: X.std(axis=(1, 2)).mean() for name, X in images.items()}
    across, down = (
        {name: np.abs(np.diff(X, axis=axis)).mean() for name, X in images.items()}
        for axis in (2, 1)
    )
    assert spread["contrast"] < 0.5 * spread["clean"]
    assert spread["shift"] < spread["clean"]
    for steps in (across, down):
        assert steps["blur"] < 0.5 * steps["clean"]
        assert steps["noise"] > 1.1 * steps["clean"]
    assert_allclose(images["blur"].mean(), images["clean"].mean(), rtol=0.05)


def test_corruptions_make_digits_harder_but_not_impossible():
    accuracy = {
        name: [
            cross_val_score(model, X.reshape(-1, 64), y, cv=KFold(3)).mean()
            for model in (LogisticRegression(C=0.01, max_iter=5000), SVC(C=10))
        ]
        for name, (X, y) in corrupted().items()
    }
    linear, kernel = zip(*accuracy.values())
    assert max(linear[1:]) < linear[0] - 0.05
    assert linear[0] > 0.9
    assert min(kernel) > 0.6
    assert sorted(kernel)[1] > 0.7


def test_corrupted_digits_random_state():
    one, two, other = (make_corrupted_digits(50, random_state=s) for s in (3, 3, 4))
    for a, b in zip(one, two):
        assert_array_equal(a, b)
    assert (one.y != other.y).mean() > 0.5
    assert_array_equal(one.tasks, other.tasks)


@pytest.mark.parametrize(
    ("n_samples_per_task", "message"),
    [
        (360, "=360 asks for 1800 different images .*there are 1797.*<= 359"),
        (0, "'n_samples_per_task' parameter .* Got 0"),
        (2.5, "'n_samples_per_task' parameter .* Got 2.5"),
    ],
)
def test_corrupted_digits_errors(n_samples_per_task, message):
    with pytest.raises(ValueError, match=message):
        make_corrupted_digits(n_samples_per_task)
