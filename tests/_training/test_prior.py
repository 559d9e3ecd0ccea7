"""What source tasks have in common."""

import numpy as np
import pytest
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
    assert make_prior(Effects(0.0, 1.0, 1.0, 0.1), 0, 1).slope == pytest.approx(
        1 / 1.01
    )
