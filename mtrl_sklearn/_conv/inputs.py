"""Inputs of any shape as rows, and what the columns of rows are."""

import math
from numbers import Integral
from typing import Any

import numpy as np

from mtrl_sklearn._arrays.validation import naming_numbers

# Square inputs of two axes, from this side on, are more likely images than patches.
SMALLEST_IMAGE = 8

KINDS = {1: "(length,)", 2: "(n_patches, patch_dim)", 3: "(channels, height, width)"}


def flatten_inputs(
    X: Any, input_shape: Any, known: tuple[int, ...] | None
) -> tuple[Any, tuple[int, ...] | None]:
    """Rows of inputs that have more than two dimensions.

    Parameters
    ----------
    X : array-like of at least two dimensions
        Anything with fewer or two dimensions passes through.
    input_shape : tuple of int or None
        The parameter of the estimator.
    known : tuple of int or None
        Shape of the inputs of fit, where there was one.

    Returns
    -------
    rows : array-like
    shape : tuple of int or None
        Shape of one input; None for rows.

    Raises
    ------
    ValueError
        If an input has more than three dimensions, or not the known shape; or if it
        looks like an image with channels last, or without an axis of channels, and
        ``input_shape`` does not say what it is.
    """
    with naming_numbers(X, "X") as array:
        n_dims = len(array.shape) if hasattr(array, "shape") else np.asarray(array).ndim
    if n_dims <= 2:
        return X, None
    array = np.asarray(array)
    shape = array.shape[1:]
    if len(shape) > 3:
        raise ValueError(
            f"X has shape {array.shape}. Pass rows, (n_samples, n_patches, patch_dim) "
            "or (n_samples, channels, height, width)."
        )
    if known is not None and _without_ones(shape) != _without_ones(known):
        raise ValueError(
            f"X has inputs of shape {shape}, but the estimator was fitted on inputs of "
            f"shape {known}, which is {KINDS[len(known)]}. Pass inputs of that shape."
        )
    if known is None and input_shape is None:
        _refuse_likely_mistakes(shape)
    return array.reshape(len(array), math.prod(shape)), shape


def _without_ones(shape: tuple[int, ...]) -> list[int]:
    return [length for length in shape if length > 1]


def _refuse_likely_mistakes(shape: tuple[int, ...]) -> None:
    """Refuse images whose channels come last, or that have no axis of channels."""
    first, last = shape[0], shape[-1]
    if len(shape) == 3 and last in (1, 3, 4) and first > 4:
        raise ValueError(
            f"X has inputs of shape {shape}, which would be {first} channels of images "
            f"{last} pixels wide. If channels come last, pass np.moveaxis(X, -1, 1); "
            f"if not, set input_shape={shape}."
        )
    elif len(shape) == 2 and first == last >= SMALLEST_IMAGE:
        raise ValueError(
            f"X has inputs of shape {shape}, which would be {first} patches of {last} "
            f"entries. For images of one channel set input_shape={(1, *shape)}; for "
            f"patches, input_shape={shape}."
        )


def resolve_input_shape(
    input_shape: Any, shape: tuple[int, ...] | None, n_features: int
) -> tuple[int, ...]:
    """What an input is, of one to three dimensions.

    Parameters
    ----------
    input_shape : tuple of int or None
        The parameter of the estimator.
    shape : tuple of int or None
        Shape of one input; None for rows.
    n_features : int
        Length of a row.

    Raises
    ------
    ValueError
        If ``input_shape`` does not describe rows of that length.
    """
    if input_shape is None:
        return (n_features,) if shape is None else shape
    asked = read_input_shape(input_shape)
    if math.prod(asked) != n_features:
        raise ValueError(
            f"input_shape={asked} has {math.prod(asked)} entries, but rows of X have "
            f"{n_features}. Pass a shape whose product is {n_features}."
        )
    if shape is not None and _without_ones(shape) != _without_ones(asked):
        raise ValueError(
            f"input_shape={asked} does not describe inputs of shape {shape}. Pass that "
            "shape, with axes of length 1 added where one is lacking."
        )
    return asked


def read_input_shape(input_shape: Any) -> tuple[int, ...]:
    """The parameter ``input_shape`` as one to three positive ints."""
    lengths = np.ravel(np.asarray(input_shape, dtype=object)).tolist()
    if not 1 <= len(lengths) <= 3 or any(
        not isinstance(length, Integral) or length < 1 for length in lengths
    ):
        raise ValueError(
            f"input_shape={input_shape} should be one to three positive ints: "
            f"{', '.join(KINDS.values())}."
        )
    return tuple(map(int, lengths))
