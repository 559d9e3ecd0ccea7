"""Estimators of this package as parameters and fitted values, which files hold."""

from collections.abc import Callable
from typing import Any, TypeVar

from sklearn.utils._param_validation import validate_parameter_constraints

from mtrl_sklearn._training.representation import FittedForm

# Not saved: what only a running program can hold.
LEFT_OUT = {"_metadata_request"}
OUTPUT = "_sklearn_output_config"

Class = TypeVar("Class", bound=type)

# Classes that a file may name, by their names, and no others.
ESTIMATORS: dict[str, Any] = {}
SETTINGS: dict[str, Any] = {}  # dataclasses that parameters may be


def saveable(estimator_class: Class) -> Class:
    """Register a class whose estimators `save` and `load` take; see `Saveable`."""
    ESTIMATORS[estimator_class.__name__] = estimator_class
    return estimator_class


def saveable_settings(settings_class: Class) -> Class:
    """Register a dataclass that a parameter ``settings`` or ``prior`` may be."""
    SETTINGS[settings_class.__name__] = settings_class
    return settings_class


class SaveableMixin:
    """Parameters and fitted values of an estimator of scikit-learn.

    A subclass provides ``check_fitted_form(values)``.
    """

    get_params: Callable[..., dict[str, Any]]  # of BaseEstimator
    set_output: Callable[..., Any]  # of a transformer
    _parameter_constraints: dict[str, list[Any]]

    def check_parameters(self) -> None:
        """Check the parameters, as `fit` does.

        Raises
        ------
        ValueError
            If one is of a wrong type or out of range.
        """
        parameters, name = self.get_params(deep=False), type(self).__name__
        constraints = self._parameter_constraints
        validate_parameter_constraints(constraints, parameters, caller_name=name)

    def fitted_form(self) -> FittedForm:
        """All that the estimator has learned, with what training goes on from.

        Returns
        -------
        FittedForm
            Fitted attributes by name, and what `set_output` has set.
        """
        left_out = {*self.get_params(deep=False), *LEFT_OUT, OUTPUT}
        fitted = {key: v for key, v in vars(self).items() if key not in left_out}
        return FittedForm(fitted, vars(self).get(OUTPUT, {}).get("transform"))

    def set_fitted_form(self, form: FittedForm) -> None:
        """Take over what an estimator of the same kind has learned.

        Parameters
        ----------
        form : FittedForm
            What `fitted_form` of that estimator returns.
        """
        vars(self).update(form.values)
        if form.container is not None:
            self.set_output(transform=form.container)

    @staticmethod
    def read_older(
        parameters: dict[str, Any], values: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Parameters and fitted values of a file, under their names of today.

        Parameters
        ----------
        parameters, values : dict
            As the file has them.
        """
        return parameters, values
