"""What tools for new tasks ask of the ReLU network."""

import pytest
from sklearn.utils._param_validation import InvalidParameterError

from mtrl_sklearn import MultiTaskReLURepresentation


@pytest.mark.parametrize(
    ("n_hidden", "n_components", "expected"),
    [
        (512, "auto", 128),
        (1000, 3, 250),
        (100, None, 64),
        (40, "auto", 40),
        (512, 200, 200),
    ],
)
def test_a_lighter_network_has_a_quarter_of_the_units(n_hidden, n_components, expected):
    estimator = MultiTaskReLURepresentation(n_hidden, n_components=n_components)
    lighter = estimator.lighter()
    assert lighter.n_hidden == expected
    assert lighter.get_params() == estimator.get_params() | {"n_hidden": expected}
    assert estimator.n_hidden == n_hidden


@pytest.mark.parametrize("parameters", [{"n_hidden": 0}, {"n_components": "many"}])
def test_a_lighter_network_of_bad_parameters_is_refused(parameters):
    estimator = MultiTaskReLURepresentation(**parameters)
    with pytest.raises(InvalidParameterError, match=next(iter(parameters))):
        estimator.lighter()
