"""Save estimators as numbers and text, and load them without executing anything.

`save` takes an estimator apart into its parameters and fitted attributes, and writes
these as safetensors with JSON in its header. `load` checks the file, makes an estimator
of the class that it names, out of a fixed table, and checks that it is whole.
"""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.utils._param_validation import validate_parameter_constraints

from mtrl_sklearn._array_files import (
    FOREIGN,
    Refusal,
    read_arrays,
    refusals,
    write_arrays,
)
from mtrl_sklearn._conv import ConvMultiTaskClassifier
from mtrl_sklearn._fitted_forms import check_conv, check_probe, check_relu
from mtrl_sklearn._relu import MultiTaskReLURepresentation
from mtrl_sklearn._saved_values import Arrays, decode, encode

__all__ = ["load", "save"]

KIND = "estimator"
# Not saved: what only a running program can hold.
LEFT_OUT = {"_metadata_request", "_skl_callbacks"}
OUTPUT = "_sklearn_output_config"
CONTAINERS = ("default", "pandas", "polars")


class Saveable(NamedTuple):
    """A class whose estimators can be saved, and the check that one is whole."""

    estimator_class: Any
    check_fitted: Callable[[Any, dict[str, Any]], None]


def save(estimator: BaseEstimator, path: str | os.PathLike[str]) -> None:
    """Write an estimator to a file: its parameters and, if fitted, all it has learned.

    The file is written beside its place, brought to the disk and moved there as a
    whole: a crash or a full disk leaves the file that was there before. It holds
    safetensors with JSON in the header: class, parameters, versions, names, and a
    checksum.

    Parameters
    ----------
    estimator : MultiTaskReLURepresentation, ConvMultiTaskClassifier or LinearProbe
        Fitted or not. The representation of a probe is saved with it.
    path : path-like
        File to write, by custom with the suffix ".safetensors". One that is there is
        replaced; it keeps its permissions.

    Raises
    ------
    TypeError
        If it is another estimator, or a parameter holds an object that is neither
        number, text nor array, such as a callback.
    ValueError
        If a parameter is out of range, or fitted attributes were changed to something
        that fit does not make.
    OSError
        If the file cannot be written.

    See Also
    --------
    load : The way back.

    Notes
    -----
    What `set_fit_request` and its kin, and `set_callbacks`, have set is not saved.

    Examples
    --------
    >>> import tempfile
    >>> import mtrl_sklearn
    >>> from mtrl_sklearn.datasets import make_subspace_tasks
    >>> X, Y, *_ = make_subspace_tasks(random_state=0)
    >>> representation = mtrl_sklearn.MultiTaskReLURepresentation(16, max_iter=1)
    >>> _ = representation.set_params(algorithm="one_step").fit(X, Y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     mtrl_sklearn.save(representation, f"{folder}/model.safetensors")
    ...     loaded = mtrl_sklearn.load(f"{folder}/model.safetensors")
    >>> bool((loaded.transform(X) == representation.transform(X)).all())
    True
    """
    arrays = Arrays()
    content = _describe(estimator, "", arrays)
    write_arrays(path, arrays.by_name, content, KIND)


def load(path: str | os.PathLike[str]) -> Any:
    """Read an estimator that `save` wrote.

    Nothing in the file is executed, and a file that is damaged, of another origin or
    edited in a way that no estimator is like is refused as a whole. The checksum finds
    accidents; it does not tell who wrote a file.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    MultiTaskReLURepresentation, ConvMultiTaskClassifier or LinearProbe
        With predictions, and further training, bit for bit like the saved one's (on
        the same machine, with the same versions of numpy and torch).

    Raises
    ------
    OSError
        If the file is not there or cannot be read.
    ValueError
        If it holds no whole estimator, or was written by a version of this package
        whose format this one does not know.

    See Also
    --------
    save : With an example.
    """
    arrays, content = read_arrays(path, KIND)
    with refusals(path):
        try:
            return _rebuild(content, arrays)
        except RecursionError:
            raise Refusal("holds values that are nested too deep") from None


def _saveable() -> dict[str, Saveable]:
    from mtrl_sklearn.probing import LinearProbe  # to import probing takes its time

    return {
        "MultiTaskReLURepresentation": Saveable(
            MultiTaskReLURepresentation, check_relu
        ),
        "ConvMultiTaskClassifier": Saveable(ConvMultiTaskClassifier, check_conv),
        "LinearProbe": Saveable(LinearProbe, check_probe),
    }


def _describe(estimator: Any, prefix: str, arrays: Arrays) -> dict[str, Any]:
    """An estimator as JSON."""
    name, classes = type(estimator).__name__, _saveable()
    if name not in classes or type(estimator) is not classes[name].estimator_class:
        raise TypeError(
            f"save takes {', '.join(classes)}; got {name}. Save the estimators that it "
            "is made of, or all of it with skops or pickle."
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
        "parameters": {
            key: _describe_parameter(key, value, prefix, arrays)
            for key, value in parameters.items()
        },
        "fitted": {
            key: encode(value, prefix + key, arrays) for key, value in fitted.items()
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
        return {"estimator": _describe(value, f"{prefix}{name}.", arrays)}
    try:
        return encode(value, prefix + name, arrays)
    except TypeError as error:
        raise TypeError(
            f"The parameter {error} Set it to None before saving, with "
            f"set_params({name}=None), and again after loading."
        ) from None


def _rebuild(found: Any, arrays: dict[str, np.ndarray]) -> Any:
    """The estimator that JSON of `_describe` stands for."""
    parts = {"class", "parameters", "fitted", "set_output"}
    if not isinstance(found, dict) or set(found) != parts:
        raise Refusal("lacks a part of an estimator")
    name, classes = found["class"], _saveable()
    if not isinstance(name, str) or name not in classes:
        raise Refusal(f"holds a {name!r:.60}, which load does not make", FOREIGN)
    estimator_class, check_fitted = classes[name]
    given, expected = found["parameters"], estimator_class._get_param_names()
    if not isinstance(given, dict) or set(given) != set(expected):
        raise Refusal(f"does not hold the parameters of {name}: {expected}")
    parameters = {k: _rebuild_parameter(k, v, arrays) for k, v in given.items()}
    estimator = estimator_class(**parameters)
    try:
        _check_parameters(estimator, parameters)
    except ValueError as error:
        raise Refusal(f"holds a wrong parameter. {error}".rstrip(".")) from None
    if not isinstance(found["fitted"], dict):
        raise Refusal("lacks a part of an estimator")
    fitted = {key: decode(value, arrays) for key, value in found["fitted"].items()}
    if fitted:
        check_fitted(estimator, fitted)
        vars(estimator).update(fitted)
    container = found["set_output"]
    if container is not None:
        if container not in CONTAINERS or not hasattr(estimator, "set_output"):
            raise Refusal("holds no proper set_output")
        estimator.set_output(transform=container)
    return estimator


def _rebuild_parameter(name: str, found: Any, arrays: dict[str, np.ndarray]) -> Any:
    from mtrl_sklearn.probing import ProbeSettings

    kind = next(iter(found), None) if isinstance(found, dict) else None
    if (name, kind) == ("representation", "estimator"):
        return _rebuild(found[kind], arrays)
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
