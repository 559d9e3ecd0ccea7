"""What tools for new tasks ask of the ReLU network."""

import pytest
from sklearn.utils._param_validation import InvalidParameterError

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn.datasets import make_subspace_tasks


@pytest.mark.parametrize(
    ("parameters", "n_rows", "expected"),
    [
        ({}, 1280, 20),  # 1000 updates of 128 rows are 100 epochs
        ({"batch_size": 640}, 1280, 40),  # 200 epochs at most
        ({"max_iter": 10}, 1280, 2),
        ({"max_iter": 1}, 1280, 1),
        ({"algorithm": "one_step"}, 1280, 1),
    ],
)
def test_a_lighter_network_trains_for_a_fifth_of_the_epochs_and_as_far(
    parameters, n_rows, expected
):
    estimator = MultiTaskReLURepresentation(40, **parameters)
    lighter = estimator.lighter(n_rows)
    changed = {"max_iter": expected, "learning_rate": 0.005}
    assert lighter.get_params() == estimator.get_params() | changed
    assert estimator.max_iter == parameters.get("max_iter", "auto")


@pytest.mark.parametrize(
    ("rate", "faster", "epochs"),
    [
        (1e-4, 5e-4, 12),
        (0.004, 0.02, 12),
        (0.005, 0.02, 15),
        (0.01, 0.02, 20),
        (0.05, 0.05, 20),
    ],
)
def test_a_lighter_network_does_not_learn_too_fast(rate, faster, epochs):
    estimator = MultiTaskReLURepresentation(40, learning_rate=rate, max_iter=60)
    lighter = estimator.lighter(1280)
    assert lighter.learning_rate == pytest.approx(faster)
    assert lighter.max_iter == epochs


@pytest.mark.parametrize(
    ("decay", "faster"), [(100.0, 0.005), (200.0, 0.0025), (600.0, 0.001)]
)
def test_its_decay_takes_away_half_of_a_weight_in_a_step_at_most(decay, faster):
    lighter = MultiTaskReLURepresentation(40, weight_decay=decay).lighter(1280)
    assert lighter.learning_rate == pytest.approx(faster)


def test_a_lighter_network_learns_nothing_from_rows_held_out():
    X, Y, *_ = make_subspace_tasks(300, 10, n_tasks=6, random_state=0)
    estimator = MultiTaskReLURepresentation(8, random_state=0)
    assert hasattr(estimator.fit(X, Y), "probe_prior_")
    lighter = estimator.set_params(tol=1).lighter(300).fit(X, Y)
    assert not hasattr(lighter, "probe_prior_")
    assert lighter.head_decay_ == 1
    estimator.head_decay_ = 30.0
    assert estimator.lighter(300).fit(X, Y).head_decay_ == 30
    assert not hasattr(lighter, "head_scale_")


@pytest.mark.parametrize("parameters", [{"max_iter": 0}, {"batch_size": "some"}])
def test_a_lighter_network_of_bad_parameters_is_refused(parameters):
    estimator = MultiTaskReLURepresentation(**parameters)
    with pytest.raises(InvalidParameterError, match=next(iter(parameters))):
        estimator.lighter(100)
