"""Inputs of any shape as rows, and what the columns of rows are."""

import math
import warnings
from typing import Any

import numpy as np

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
        If an input has more than three dimensions, or not the known shape.
    """
    n_dims = len(X.shape) if hasattr(X, "shape") else np.asarray(X).ndim
    if n_dims <= 2:
        return X, None
    array = np.asarray(X)
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
    if known is None and input_shape is None and len(shape) == 3:
        _warn_of_channels_last(shape)
    return array.reshape(len(array), math.prod(shape)), shape


def _without_ones(shape: tuple[int, ...]) -> list[int]:
    return [length for length in shape if length > 1]


def _warn_of_channels_last(shape: tuple[int, ...]) -> None:
    channels, _, width = shape
    if width in (1, 3, 4) and channels > 4:
        warnings.warn(
            f"X has inputs of shape {shape}, read as {channels} channels of images "
            f"{width} pixels wide. If channels come last, pass np.moveaxis(X, -1, 1).",
            stacklevel=7,
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
    asked = tuple(int(length) for length in np.ravel(input_shape))
    if not 1 <= len(asked) <= 3 or min(asked) < 1:
        raise ValueError(
            f"input_shape={input_shape} should be one to three positive ints: "
            f"{', '.join(KINDS.values())}."
        )
    if math.prod(asked) != n_features:
        raise ValueError(
            f"input_shape={asked} has {math.prod(asked)} entries, but rows of X have "
            f"{n_features}. Pass a shape whose product is {n_features}."
        )
    return asked
