"""What source tasks have in common."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from mtrl_sklearn._training.prior import Effects, find_effects, make_prior


@pytest.mark.parametrize(("slope", "spread"), [(0.8, 0.4), (-0.3, 0.9), (0.0, 0.3)])
def test_effects_of_drawn_tasks_are_found(slope, spread):
    """Means within four standard errors, spreads of 300 tasks within a sixth."""
    rng = np.random.default_rng(0)
    n_tasks, n_labels = 300, 120
    b = rng.normal(-1.5, 0.8, n_tasks)
    beta = rng.normal(slope, spread, n_tasks)
    tasks = np.repeat(np.arange(n_tasks), n_labels)
    s = rng.standard_normal(len(tasks))
    positive = rng.random(len(tasks)) < expit(b[tasks] + beta[tasks] * s)
    found = find_effects(s, positive, tasks)
    assert found.intercept == pytest.approx(-1.5, abs=4 * 0.9 / np.sqrt(n_tasks))
    assert found.intercept_spread == pytest.approx(0.8, rel=1 / 6)
    error = np.hypot(spread, 0.3) / np.sqrt(n_tasks)
    assert found.slope == pytest.approx(slope, abs=4 * error)
    assert found.slope_spread == pytest.approx(spread, rel=1 / 6)


def test_effects_are_where_expectation_and_maximisation_end():
    """Another step, with modes and curvatures found by other means, stays there."""
    rng = np.random.default_rng(1)
    n_tasks, n_labels = 40, 60
    tasks = np.repeat(np.arange(n_tasks), n_labels)
    s = 2 * rng.standard_normal(len(tasks))
    b, beta = rng.normal(-0.5, 1.2, n_tasks), rng.normal(0.4, 0.6, n_tasks)
    positive = rng.random(len(tasks)) < expit(b[tasks] + beta[tasks] * s)
    found = find_effects(s, positive, tasks)
    centre = np.array([found.intercept, found.slope])
    spread = np.array([found.intercept_spread, found.slope_spread])
    modes, variances = [], []
    for task in range(n_tasks):
        rows = tasks == task
        Z = np.column_stack([np.ones(rows.sum()), s[rows]])
        y = positive[rows]

        def objective(v, Z=Z, y=y):
            f = Z @ v
            penalty = np.sum(((v - centre) / spread) ** 2) / 2
            return np.sum(np.logaddexp(0, f) - y * f) + penalty

        mode = minimize(objective, centre, method="BFGS", options={"gtol": 1e-8}).x
        p = expit(Z @ mode)
        precision = (Z * (p * (1 - p))[:, None]).T @ Z + np.diag(spread**-2)
        modes.append(mode)
        variances.append(np.diag(np.linalg.inv(precision)))
    modes = np.array(modes)
    np.testing.assert_allclose(modes.mean(axis=0), centre, rtol=1e-3)
    again = (modes - modes.mean(axis=0)) ** 2 + np.array(variances)
    np.testing.assert_allclose(np.sqrt(again.mean(axis=0)), spread, rtol=1e-3)


def test_tasks_that_are_all_alike_may_differ_all_the_same():
    s = np.tile(np.linspace(-1, 1, 4000), 3)
    positive = np.tile(np.random.default_rng(0).random(4000) < 0.3, 3)
    found = find_effects(s, positive, np.repeat(np.arange(3), 4000))
    assert (found.intercept_spread, found.slope_spread) == (0.5, 0.1)


def test_tasks_of_one_class_do_not_count():
    rng = np.random.default_rng(0)
    s, tasks = rng.standard_normal(400), np.repeat(np.arange(4), 100)
    positive = rng.random(400) < expit(s)
    expected = find_effects(s, positive, tasks)
    more = np.concatenate([tasks, np.full(50, 7)])
    s, positive = np.append(s, np.zeros(50)), np.append(positive, np.ones(50, bool))
    assert find_effects(s, positive, more) == expected
    alone = tasks == 0
    assert find_effects(s[:400][alone], positive[:400][alone], tasks[alone]) is None


def test_a_slope_counts_by_how_far_tasks_agree():
    prior = make_prior(Effects(-1.0, 0.5, 0.6, 0.6), 0.2, 0.1)
    assert prior.slope == pytest.approx(0.3)
    assert (prior.centre, prior.scale, prior.intercept) == (0.2, 0.1, -1.0)
    assert prior.intercept_spread == 1.0  # twice that of the source tasks
    assert prior.slope_spread == 0.2  # no more
    assert make_prior(Effects(-1.0, 0.5, 0.6, 0.15), 0.2, 0.1).slope_spread == 0.15
    assert make_prior(Effects(0.0, 1.0, 1.0, 0.1), 0, 1).slope == pytest.approx(
        1 / 1.01
    )
