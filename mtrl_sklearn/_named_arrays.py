"""Arguments read as arrays of numbers, with errors that name them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import _check_sample_weight, _num_samples

from mtrl_sklearn._array_likes import as_numpy


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
        if "convert string" in told:
            told += ". Encode text as numbers first, as OneHotEncoder does."
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
        If one is negative or not finite, all are 0, or there is not one for each row.
    """
    with naming_numbers(sample_weight, "sample_weight") as values:
        weights = _check_sample_weight(
            values, X, dtype=np.float64, ensure_non_negative=True
        )
    return weights / weights.max()
