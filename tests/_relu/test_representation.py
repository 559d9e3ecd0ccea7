"""What tools for new tasks ask of the ReLU network."""

import pytest
from sklearn.utils._param_validation import InvalidParameterError

from mtrl_sklearn import MultiTaskReLURepresentation


@pytest.mark.parametrize(
    ("parameters", "n_rows", "expected"),
    [
        ({}, 1280, 34),  # 1000 updates of 128 rows are 100 epochs
        ({"batch_size": 640}, 1280, 67),  # 200 epochs at most
        ({"max_iter": 10}, 1280, 4),
        ({"max_iter": 1}, 1280, 1),
        ({"algorithm": "one_step"}, 1280, 1),
    ],
)
def test_a_lighter_network_trains_for_a_third_of_the_epochs(
    parameters, n_rows, expected
):
    estimator = MultiTaskReLURepresentation(40, **parameters)
    lighter = estimator.lighter(n_rows)
    assert lighter.get_params() == estimator.get_params() | {"max_iter": expected}
    assert estimator.max_iter == parameters.get("max_iter", "auto")


@pytest.mark.parametrize("parameters", [{"max_iter": 0}, {"batch_size": "some"}])
def test_a_lighter_network_of_bad_parameters_is_refused(parameters):
    estimator = MultiTaskReLURepresentation(**parameters)
    with pytest.raises(InvalidParameterError, match=next(iter(parameters))):
        estimator.lighter(100)
