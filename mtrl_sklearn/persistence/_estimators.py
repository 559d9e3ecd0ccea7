"""Estimators as JSON and named arrays, and back, for a fixed table of classes."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.utils._param_validation import (
    InvalidParameterError,
    validate_parameter_constraints,
)

from mtrl_sklearn._conv.estimator import ConvMultiTaskClassifier
from mtrl_sklearn._files.arrays import FOREIGN, RESTORE, Refusal
from mtrl_sklearn._files.values import Arrays, decode, encode
from mtrl_sklearn._relu.estimator import MultiTaskReLURepresentation
from mtrl_sklearn._version import __version__
from mtrl_sklearn.persistence._fitted_forms import check_conv, check_probe, check_relu

# Not saved: what only a running program can hold.
LEFT_OUT = {"_metadata_request", "_skl_callbacks"}
OUTPUT = "_sklearn_output_config"
CONTAINERS = ("default", "pandas", "polars")


class Saveable(NamedTuple):
    """A class whose estimators can be saved, and the check that one is whole."""

    estimator_class: Any
    check_fitted: Callable[[Any, dict[str, Any]], None]


def _saveable() -> dict[str, Saveable]:
    from mtrl_sklearn.probing import LinearProbe  # to import probing takes its time

    return {
        "MultiTaskReLURepresentation": Saveable(
            MultiTaskReLURepresentation, check_relu
        ),
        "ConvMultiTaskClassifier": Saveable(ConvMultiTaskClassifier, check_conv),
        "LinearProbe": Saveable(LinearProbe, check_probe),
    }


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
    if name not in classes or type(estimator) is not classes[name].estimator_class:
        raise TypeError(
            f"save takes {', '.join(classes)}; got {name} of "
            f"{type(estimator).__module__}. Save the estimators that it is made of, or "
            "all of it with skops."
        )
    parameters = estimator.get_params(deep=False)
    _check_parameters(estimator, parameters)
    fitted = _fitted(estimator, parameters)
    if fitted:
        try:
            classes[name].check_fitted(estimator, fitted)
        except Refusal as refusal:
            raise ValueError(
                f"This {name} cannot be saved: it {refusal.what}. Fit it again."
            ) from None
    return {
        "class": name,
        "version": __version__,
        "parameters": {
            key: _describe_parameter(key, value, prefix, arrays)
            for key, value in parameters.items()
        },
        "fitted": {
            key: _describe_fitted(key, value, prefix, arrays)
            for key, value in fitted.items()
        },
        "set_output": vars(estimator).get(OUTPUT, {}).get("transform"),
    }


def _fitted(estimator: Any, parameters: dict[str, Any]) -> dict[str, Any]:
    left_out = {*parameters, *LEFT_OUT, OUTPUT}
    return {key: v for key, v in vars(estimator).items() if key not in left_out}


def _check_parameters(estimator: Any, parameters: dict[str, Any]) -> None:
    name = type(estimator).__name__
    constraints = estimator._parameter_constraints
    validate_parameter_constraints(constraints, parameters, caller_name=name)


def _describe_parameter(name: str, value: Any, prefix: str, arrays: Arrays) -> Any:
    """JSON for a parameter; some may be objects of classes known here."""
    from mtrl_sklearn.probing import ProbeSettings

    if isinstance(value, np.random.RandomState):
        return {"RandomState": _describe_stream(value, prefix + name, arrays)}
    if isinstance(value, ProbeSettings):
        return {"ProbeSettings": encode(vars(value), prefix + name, arrays)}
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
    from mtrl_sklearn.probing._blocks import pin

    parts = {"class", "version", "parameters", "fitted", "set_output"}
    if not isinstance(found, dict) or set(found) != parts:
        raise Refusal("lacks a part of an estimator")
    name, version, classes = found["class"], found["version"], _saveable()
    if not isinstance(name, str) or name not in classes:
        raise Refusal(f"holds a {name!r:.60}, which load does not make", FOREIGN)
    estimator_class, check_fitted = classes[name]
    if not isinstance(version, str):
        raise Refusal("does not say which version wrote it")
    is_current = version == __version__
    remedy = f"Load it with mtrl_sklearn {version:.20}, which wrote it"
    remedy = RESTORE if is_current else remedy

    given, expected = found["parameters"], set(estimator_class._get_param_names())
    if not isinstance(given, dict) or not isinstance(found["fitted"], dict):
        raise Refusal("lacks a part of an estimator")
    # a parameter that an older version did not have is at its default
    if set(given) - expected or (is_current and expected - set(given)):
        raise Refusal(f"does not hold the parameters of {name}", remedy)
    parameters = {k: _rebuild_parameter(k, v, arrays) for k, v in given.items()}
    estimator = estimator_class(**parameters)
    fitted = {k: _rebuild_fitted(k, v, arrays) for k, v in found["fitted"].items()}
    if fitted and "representation" in parameters:  # older files have it only there
        fitted.setdefault("representation_", pin(parameters["representation"]))
    try:
        _check_parameters(estimator, parameters)
        if fitted:
            check_fitted(estimator, fitted)
    except InvalidParameterError as error:
        raise Refusal(f"holds a wrong parameter. {error}".rstrip("."), remedy) from None
    except Refusal as refusal:
        raise Refusal(refusal.what, remedy) from None
    vars(estimator).update(fitted)
    container = found["set_output"]
    if container is not None:
        if container not in CONTAINERS or not hasattr(estimator, "set_output"):
            raise Refusal("holds no proper set_output")
        estimator.set_output(transform=container)
    return estimator


def _rebuild_parameter(name: str, found: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    from mtrl_sklearn.probing import ProbeSettings

    kind = next(iter(found), None) if isinstance(found, dict) else None
    if (name, kind) == ("representation", "estimator"):
        return rebuild(found[kind], arrays)
    if (name, kind) == ("representation", "FrozenEstimator"):
        return FrozenEstimator(_rebuild_parameter(name, found[kind], arrays))
    if (name, kind) == ("random_state", "RandomState"):
        return _rebuild_stream(decode(found[kind], arrays))
    if (name, kind) == ("settings", "ProbeSettings"):
        try:
            return ProbeSettings(**decode(found[kind], arrays))
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
