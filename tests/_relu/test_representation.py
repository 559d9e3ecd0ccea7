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
        ({"max_iter": 10, "n_components": 3}, 1280, 2),
        ({"max_iter": 1, "n_components": None}, 1280, 1),
        ({"algorithm": "one_step", "learning_rate": 0.1}, 1280, 1),
    ],
)
def test_a_lighter_network_trains_for_a_fifth_of_the_epochs_and_as_far(
    parameters, n_rows, expected
):
    estimator = MultiTaskReLURepresentation(40, **parameters)
    lighter = estimator.lighter(n_rows)
    changed = {
        "max_iter": expected,
        "learning_rate": 5 * parameters.get("learning_rate", 1e-3),
        "n_components": parameters.get("n_components"),
    }
    assert lighter.get_params() == estimator.get_params() | changed
    assert estimator.max_iter == parameters.get("max_iter", "auto")


def test_a_lighter_network_learns_nothing_from_rows_held_out():
    X, Y, *_ = make_subspace_tasks(300, 10, n_tasks=6, random_state=0)
    estimator = MultiTaskReLURepresentation(8, random_state=0)
    assert hasattr(estimator.fit(X, Y), "probe_prior_")
    lighter = estimator.set_params(tol=1).lighter(300).fit(X, Y)
    assert not hasattr(lighter, "probe_prior_")
    assert not hasattr(lighter, "head_scale_")


@pytest.mark.parametrize("parameters", [{"max_iter": 0}, {"batch_size": "some"}])
def test_a_lighter_network_of_bad_parameters_is_refused(parameters):
    estimator = MultiTaskReLURepresentation(**parameters)
    with pytest.raises(InvalidParameterError, match=next(iter(parameters))):
        estimator.lighter(100)
