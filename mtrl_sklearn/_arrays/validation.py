"""Arguments read as arrays of numbers, with errors that name them."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import shorten
from typing import Any

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_array
from sklearn.utils.validation import _check_sample_weight, _num_samples, validate_data

from mtrl_sklearn._arrays.conversion import (
    as_numpy,
    dense_remedy,
    is_sparse_frame,
    read_sparse,
    read_sparse_frame,
)
from mtrl_sklearn._arrays.rows import DTYPES

REMEDIES = {  # by words of errors of numpy and scikit-learn
    "convert string": "Encode text as numbers first, as OneHotEncoder does with names "
    "and TfidfVectorizer with documents",
    "inhomogeneous": "Bring all rows to one shape",
    "1D array or scalar": "Weights of single labels go with the long form, a label "
    "in a row of y with tasks=; NaN in y leaves a label out",
}


@contextmanager
def naming_numbers(value: Any, name: str) -> Iterator[Any]:
    """Refuse what only looks like numbers; name the argument in errors of the block.

    The block gets the value, as an array where numpy would not read it as it is.

    Parameters
    ----------
    value : object
        What is read in the block.
    name : str

    Raises
    ------
    ValueError
        As `refuse_lookalikes`, and where numbers are too large for a float.
    ValueError, TypeError
        Those of the block.
    """
    refuse_lookalikes(value, name)
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # in sums of large numbers
            yield as_numpy(value, name)
    except (ValueError, TypeError, OverflowError) as error:
        told = str(error)
        if re.search(rf"(^|Input |for |`){re.escape(name)}\b", told):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        if remedies := [r for words, r in REMEDIES.items() if words in told]:
            told = shorten(told, 200, placeholder=" [...]").rstrip(".")
            told = f"{told}. {remedies[0]}."
        raise kind(f"{name}: {told}") from error


def refuse_lookalikes(value: Any, name: str) -> None:
    """Refuse None and dicts, and hidden entries and times, read as numbers otherwise.

    Parameters
    ----------
    value : object
    name : str

    Raises
    ------
    ValueError
    """
    if value is None or (isinstance(value, dict) and not issparse(value)):
        kind = "None" if value is None else f"a {type(value).__name__}"
        raise ValueError(f"{name} is {kind}. Pass an array or a frame of numbers.")
    if hasattr(type(value), "collect") and hasattr(type(value), "columns"):
        raise ValueError(f"{name} is a lazy frame. Pass {name}.collect().")
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        n_masked = int(np.ma.getmaskarray(value).sum())
        raise ValueError(
            f"{name} is a masked array with {n_masked} masked entries, whose values "
            f"would be taken for numbers. Fill them, as {name}.filled(0) does, or "
            "impute them."
        )
    is_frame = hasattr(value, "columns")
    dtypes = getattr(value, "dtypes" if is_frame else "dtype", None)
    dtypes = dtypes if is_frame and dtypes is not None else [dtypes]
    times = [dtype for dtype in dtypes if getattr(dtype, "kind", "") in ("m", "M")]
    if times:
        raise ValueError(
            f"{name} holds times ({times[0]}). Pass numbers in a unit of your choice, "
            f"as {name} / np.timedelta64(1, 'D') are for durations."
        )


def check_scored(X: Any) -> None:
    """Refuse to score no rows at all, of which predictions are none."""
    with naming_numbers(X, "X") as rows:
        n_rows = _num_samples(rows)
    if n_rows == 0:
        raise ValueError("X has 0 rows, which have no score. Pass at least one row.")


def read_weights(sample_weight: Any, X: Any) -> np.ndarray:
    """Weights of rows for a score, of which only the ratios matter: at most 1.

    Raises
    ------
    ValueError
        As `check_weights`.
    """
    weights = check_weights(sample_weight, X)
    return weights / weights.max()


def check_weights(sample_weight: Any, X: Any, may_be_zero: bool = False) -> np.ndarray:
    """Weights of rows, or of what else there is one of for each, float64.

    Parameters
    ----------
    sample_weight, X : array-like
    may_be_zero : bool, default=False
        Whether all of them may be 0.

    Raises
    ------
    ValueError
        If one is negative or not finite, all are 0, or there is not one for each row.
    """
    with naming_numbers(sample_weight, "sample_weight") as values:
        weights = _check_sample_weight(
            values,
            X,
            dtype=np.float64,
            ensure_non_negative=True,
            allow_all_zero_weights=may_be_zero,
        )
    return weights


def validate_rows(
    estimator: BaseEstimator,
    X: Any,
    reset: bool,
    sparse: bool = False,
    empty: bool = False,
) -> Any:
    """Read rows as numbers, without a copy of arrays that batches can be taken from.

    Parameters
    ----------
    estimator : estimator instance
    X : array-like
    reset : bool
        Whether to learn number and names of features, or to check them.
    sparse : bool, default=False
        Whether sparse X is welcome; it comes back as CSR.
    empty : bool, default=False
        Whether X may have no rows, as some blocks of a larger array have.

    Returns
    -------
    ndarray of shape (n_samples, n_features), or CSR array
        Arrays of numbers keep their dtype, and memory maps their order. What else
        holds integers, booleans or float32 becomes float32, all other things float64.
    """
    if not sparse and (remedy := dense_remedy(X, "X")):
        raise TypeError(
            f"Sparse data was passed for X, but dense data is required. Use {remedy}."
        )
    with naming_numbers(X, "X") as rows:
        options: dict[str, Any] = {"accept_sparse": sparse, "order": "C"}
        options["ensure_min_samples"] = 0 if empty else 1
        if is_sparse_frame(rows):
            validate_data(estimator, X, skip_check_array=True, reset=reset)
            rows = read_sparse_frame(rows, "X")
            rows = check_array(rows, estimator=estimator, input_name="X", **options)
        else:
            if issparse(rows):
                rows = read_sparse(rows)
            elif isinstance(rows, np.memmap) and _has_torch_strides(rows):
                options["order"] = None
            options["dtype"] = _accepted_dtypes(rows)
            rows = validate_data(estimator, rows, reset=reset, **options)
    return _without_duplicates(rows) if issparse(rows) else rows


def flatten_rows(X: Any, empty: bool = False, sparse: bool = False) -> Any:
    """Inputs of any shape as finite floats of shape (n_samples, n_features).

    Parameters
    ----------
    X : array-like of shape (n_samples, ...)
    empty : bool, default=False
        Whether X may have no rows.
    sparse : bool, default=False
        Whether sparse X is welcome; it comes back as CSR, without duplicates.

    Returns
    -------
    ndarray or CSR array of shape (n_samples, n_features)
    """
    with naming_numbers(X, "X") as rows:
        options: dict[str, Any] = {"dtype": [np.float64, np.float32]}
        options["ensure_min_samples"] = 0 if empty else 1
        options["input_name"] = "X"
        if sparse and is_sparse_frame(rows):
            rows = read_sparse_frame(rows, "X")
        if sparse and issparse(rows):
            rows = check_array(read_sparse(rows), accept_sparse="csr", **options)
            return _without_duplicates(rows)
        rows = check_array(rows, allow_nd=True, **options)
    return rows.reshape(len(rows), math.prod(rows.shape[1:]))


def _without_duplicates(rows: csr_array) -> csr_array:
    """CSR rows that store each entry once, sorted."""
    if not rows.has_canonical_format:
        rows = rows.copy()  # it may be the caller's
        rows.sum_duplicates()
    return rows


def _accepted_dtypes(X: Any) -> Any:
    """Dtypes that X may keep, and the first of them for all others; None for any."""
    dtype = getattr(X, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype in DTYPES:
        return None
    floats = [np.float64, np.float32]
    return floats[::-1] if _fits_float32(X) else floats


def _has_torch_strides(array: np.ndarray) -> bool:
    """Whether torch can view an array: no reversed axis, no fields of records."""
    return all(s >= 0 and s % array.itemsize == 0 for s in array.strides)


def _fits_float32(X: Any) -> bool:
    """Whether X holds booleans, integers or floats of at most 32 bits."""
    dtype = getattr(X, "dtype", None)
    if isinstance(dtype, np.dtype):
        return dtype.kind in "biu" or (dtype.kind == "f" and dtype.itemsize <= 4)
    schema: Any = X.schema if hasattr(type(X), "schema") else {}  # polars, pyarrow
    types = schema.types if hasattr(schema, "types") else schema.values()
    return {str(dtype) for dtype in types} in ({"Float32"}, {"float"})
