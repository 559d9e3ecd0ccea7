"""Estimators as JSON and named arrays, and back, for classes that are registered."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.utils._param_validation import InvalidParameterError

from mtrl_sklearn._files.arrays import FOREIGN, RESTORE, Refusal
from mtrl_sklearn._files.values import Arrays, decode, encode
from mtrl_sklearn._training.representation import FittedForm
from mtrl_sklearn._training.saving import ESTIMATORS, SETTINGS
from mtrl_sklearn._version import __version__

CONTAINERS = ("default", "pandas", "polars")


def _saveable() -> dict[str, Any]:
    """The classes that a file may name: see `Saveable`."""
    import mtrl_sklearn.probing  # noqa: F401, registers LinearProbe, and takes its time

    return ESTIMATORS


def describe(estimator: Any, arrays: Arrays, prefix: str = "") -> dict[str, Any]:
    """JSON that stands for an estimator.

    Parameters
    ----------
    estimator : estimator instance
    arrays : Arrays
        Takes what is too large for JSON.
    prefix : str
        Of the names of arrays, where the estimator is a parameter.

    Raises
    ------
    TypeError
        If it is of another class, or a parameter cannot be saved.
    ValueError
        If a parameter is out of range, or fitted attributes are not those of a fit.
    """
    name, classes = type(estimator).__name__, _saveable()
    if isinstance(estimator, type):
        raise TypeError(
            f"save takes fitted or unfitted estimators, got the class "
            f"{estimator.__name__}. Make one of it, and pass that."
        )
    if name not in classes or type(estimator) is not classes[name]:
        raise TypeError(
            f"save takes {', '.join(classes)}; got {name} of "
            f"{type(estimator).__module__}. Save the estimators that it is made of, or "
            "all of it with skops."
        )
    parameters = estimator.get_params(deep=False)
    estimator.check_parameters()
    described = {
        key: _describe_parameter(key, value, prefix, arrays)
        for key, value in parameters.items()
    }
    fitted, container = estimator.fitted_form()
    if fitted:
        try:
            estimator.check_fitted_form(fitted)
        except Refusal as refusal:
            raise ValueError(
                f"This {name} cannot be saved: it {refusal.what}. Fit it again."
            ) from None
    return {
        "class": name,
        "version": __version__,
        "parameters": described,
        "fitted": {
            key: _describe_fitted(key, value, prefix, arrays)
            for key, value in fitted.items()
        },
        "set_output": container,
    }


def _describe_parameter(name: str, value: Any, prefix: str, arrays: Arrays) -> Any:
    """JSON for a parameter; some may be objects of classes known here."""
    if isinstance(value, np.random.RandomState):
        return {"RandomState": _describe_stream(value, prefix + name, arrays)}
    kind = type(value).__name__
    if SETTINGS.get(kind) is type(value):
        return {kind: encode(asdict(value), prefix + name, arrays)}
    if isinstance(value, FrozenEstimator):
        content = _describe_parameter(name, value.estimator, prefix, arrays)
        return {"FrozenEstimator": content}
    if isinstance(value, BaseEstimator):
        return {"estimator": describe(value, arrays, f"{prefix}{name}.")}
    try:
        return encode(value, prefix + name, arrays)
    except TypeError as error:
        raise TypeError(
            f"The parameter {error} Set it to None before saving, with "
            f"set_params({name}=None), and again after loading."
        ) from None


def _describe_fitted(name: str, value: Any, prefix: str, arrays: Arrays) -> Any:
    if isinstance(value, BaseEstimator):  # what a probe was fitted on
        return {"estimator": describe(value, arrays, f"{prefix}{name}.")}
    return encode(value, prefix + name, arrays)


def rebuild(found: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The estimator that JSON of `describe` stands for.

    Raises
    ------
    Refusal
        If it is no such JSON, or the estimator would not be whole.
    """
    parts = {"class", "version", "parameters", "fitted", "set_output"}
    if not isinstance(found, dict) or set(found) != parts:
        raise Refusal("lacks a part of an estimator")
    name, version, classes = found["class"], found["version"], _saveable()
    if not isinstance(name, str) or name not in classes:
        raise Refusal(f"holds a {name!r:.60}, which load does not make", FOREIGN)
    estimator_class = classes[name]
    if not isinstance(version, str):
        raise Refusal("does not say which version wrote it")
    is_current = version == __version__
    remedy = f"Load it with mtrl_sklearn {version:.20}, which wrote it"
    remedy = RESTORE if is_current else remedy

    given = found["parameters"]
    if not isinstance(given, dict) or not isinstance(found["fitted"], dict):
        raise Refusal("lacks a part of an estimator")
    parameters = {k: _rebuild_parameter(k, v, arrays) for k, v in given.items()}
    fitted = {k: _rebuild_fitted(k, v, arrays) for k, v in found["fitted"].items()}
    parameters, fitted = estimator_class.read_older(parameters, fitted)
    expected = {*estimator_class().get_params(deep=False)}
    # a parameter that an older version did not have is at its default
    if set(parameters) - expected or (is_current and expected - set(parameters)):
        raise Refusal(f"does not hold the parameters of {name}", remedy)
    estimator = estimator_class(**parameters)
    try:
        estimator.check_parameters()
        if fitted:
            estimator.check_fitted_form(fitted)
    except InvalidParameterError as error:
        raise Refusal(f"holds a wrong parameter. {error}".rstrip("."), remedy) from None
    except Refusal as refusal:
        raise Refusal(refusal.what, remedy) from None
    container = found["set_output"]
    can_be_set = container in CONTAINERS and hasattr(estimator, "set_output")
    if container is not None and not can_be_set:
        raise Refusal("holds no proper set_output")
    estimator.set_fitted_form(FittedForm(fitted, container))
    return estimator


def _rebuild_parameter(name: str, found: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    kind = next(iter(found), None) if isinstance(found, dict) else None
    if (name, kind) == ("representation", "estimator"):
        return rebuild(found[kind], arrays)
    if (name, kind) == ("representation", "FrozenEstimator"):
        return FrozenEstimator(_rebuild_parameter(name, found[kind], arrays))
    if (name, kind) == ("random_state", "RandomState"):
        return _rebuild_stream(decode(found[kind], arrays))
    if name in ("settings", "prior") and kind in SETTINGS:
        try:
            return SETTINGS[kind](**decode(found[kind], arrays))
        except (TypeError, ValueError):
            raise Refusal(f"holds no proper {name}") from None
    return decode(found, arrays)


def _rebuild_fitted(name: str, found: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if name == "representation_" and isinstance(found, dict) and "estimator" in found:
        return rebuild(found["estimator"], arrays)
    return decode(found, arrays)


def _describe_stream(stream: np.random.RandomState, name: str, arrays: Arrays) -> Any:
    state: Any = stream.get_state(legacy=False)
    if state["bit_generator"] != "MT19937":
        raise TypeError(
            f"The parameter {name} holds a RandomState on {state['bit_generator']}, "
            "which cannot be saved. Pass an int, or np.random.RandomState(seed)."
        )
    numbers = [state["state"]["pos"], state["has_gauss"], state["gauss"]]
    return encode([state["state"]["key"], *numbers], name, arrays)


def _rebuild_stream(state: Any) -> np.random.RandomState:
    """A random stream; numpy itself would go on from any position."""
    types = [np.ndarray, int, int, float]
    if not isinstance(state, list) or [type(part) for part in state] != types:
        raise Refusal("holds no proper random_state")
    key, position, has_gauss, gauss = state
    is_proper = key.dtype == np.uint32 and key.shape == (624,)
    if not is_proper or not 0 <= position <= 624 or has_gauss not in (0, 1):
        raise Refusal("holds no proper random_state")
    stream = np.random.RandomState()
    stream.set_state(("MT19937", key, position, has_gauss, gauss))
    return stream
