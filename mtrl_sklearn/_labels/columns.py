"""Labels of any form taken apart: the observed values of each output, and where."""

from collections.abc import Callable, Iterator
from datetime import date
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.sparse import csr_array
from sklearn.utils._missing import is_pandas_na, is_scalar_nan
from sklearn.utils.validation import check_consistent_length

from mtrl_sklearn._arrays.conversion import (
    as_numpy,
    dense_remedy,
    is_sparse_frame,
    read_sparse,
    read_sparse_frame,
)
from mtrl_sklearn._labels.indicator import find_positive, stored_values

Form = Literal["single", "wide", "long"]

# Columns of an array that are copied together, as many as share a line of the cache.
COPIED_COLUMNS = 16


class Column(NamedTuple):
    """Labels of one output: the values that were observed, and where."""

    values: np.ndarray  # (n_observed,)
    rows: np.ndarray  # (n_observed,)
    weights: np.ndarray | None = None  # (n_observed,), of the long form


class Columns:
    """Labels of each output in turn, as often as they are asked for.

    They are not kept: together they may take more memory than the labels.

    Parameters
    ----------
    read : callable
        Begins anew at the first column.
    """

    def __init__(self, read: Callable[[], Iterator[Column]]):
        self.read = read

    def __iter__(self) -> Iterator[Column]:
        return self.read()


class Labels(NamedTuple):
    """Labels of any form, taken apart."""

    form: Form
    names: np.ndarray | None  # (n_outputs,), of outputs that have any
    n_samples: int
    n_outputs: int
    columns: Columns  # of each output, read when its turn comes
    # All labels where they are of one type, NaN where missing: (n_samples, n_outputs).
    # In the long form the observed ones: (n_observed,).
    values: np.ndarray | None = None
    # The row and the output of each label of the long form: (n_observed,) each.
    places: tuple[np.ndarray, np.ndarray] | None = None
    # Weights, of rows or, in the long form, of observed labels; None is 1 for each.
    weights: np.ndarray | None = None  # (n_samples,), or (n_observed,)
    # Whether labels of the long form say their rows, of which several may be the same.
    has_rows: bool = False
    # Of sparse labels, where all others are negative: (n_samples, n_outputs), and (2,).
    positive: csr_array | None = None
    classes: np.ndarray | None = None


def read_labels(
    y: Any,
    tasks: Any,
    rows: Any = None,
    weights: np.ndarray | None = None,
    n_samples: int | None = None,
) -> Labels:
    """Take labels of any accepted form apart.

    Parameters
    ----------
    y : array-like of shape (n_samples,), (n_samples, n_outputs) or (n_labels,)
    tasks : array-like of shape (n_labels,) or None
        The task of each label, in the long form.
    rows : array-like of shape (n_labels,), default=None
        The row of the inputs that each label belongs to; by default each has its own.
    weights : ndarray of shape (n_samples,) or (n_labels,), default=None
        One for each entry of ``y``.
    n_samples : int, default=None
        Rows of the inputs; needed with ``rows``.
    """
    if y is None:
        raise ValueError(
            "This estimator requires y to be passed, but the target y is None."
        )
    remedy = dense_remedy(y, "y")
    if remedy and tasks is not None:
        raise TypeError(
            f"y is sparse. With tasks, it should be one label per row: pass {remedy}"
            ".ravel()."
        )
    if tasks is not None:
        return _read_long(y, tasks, rows, weights, n_samples)
    if rows is not None:
        raise ValueError(
            "rows= says which row of X a label belongs to, and tasks= which task: pass "
            "both, or neither."
        )
    labels = read_indicator(y) if remedy else None
    return (_read_rows(y) if labels is None else labels)._replace(weights=weights)


def _read_rows(y: Any) -> Labels:
    """Labels of which each row of inputs has a row."""
    if hasattr(y, "columns"):
        of_arrow = hasattr(type(y), "column_names")  # whose columns are arrays
        given = y.column_names if of_arrow else y.columns
        names = _flat_names(given)
        if not _is_one_table(y):
            distinct = dict.fromkeys(given)
            columns = Columns(
                lambda: _read_columns(
                    (as_array(y[name]) for name in distinct), names.tolist()
                )
            )
            return Labels("wide", names, len(y), len(distinct), columns)
        return _read_table("wide", as_array(y), names)
    array = as_array(y)
    if array.ndim == 1:
        name = getattr(y, "name", None) or "y"
        return _read_table("single", array[:, None], np.asarray([name]))
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(
            "y should be of shape (n_samples,) or (n_samples, n_tasks), got an array "
            f"of shape {array.shape}."
        )
    return _read_table("wide", array)


def read_indicator(y: Any, name: str = "y") -> Labels | None:
    """Labels of a sparse matrix or tensor; None for frames that say something else.

    Raises
    ------
    ValueError
        If a matrix stores anything but 1, or 1 several times for one label, which adds
        up.
    """
    names = None
    if is_sparse_frame(y):
        names = _flat_names(y.columns)
        dtype = np.result_type(*(dtype.subtype for dtype in y.dtypes))
        if dtype.kind not in "biuf" or any(t.fill_value != 0 for t in y.dtypes):
            return None
        matrix = read_sparse_frame(y, name).astype(dtype)
    else:
        matrix = as_numpy(y, name)
        if matrix.ndim != 2 or matrix.shape[1] == 0:
            raise ValueError(
                f"{name} should be of shape (n_samples, n_tasks) where it is sparse, "
                f"got shape {matrix.shape}."
            )
        matrix = read_sparse(matrix)
    values = stored_values(matrix)
    if not (values == 1).all():
        if names is not None:
            return None
        raise ValueError(
            f"{name} is sparse, and so an indicator: it stores 1 for a positive label "
            "and nothing for a negative one, and none is missing. This one stores "
            f"{values[:3].tolist()}, entries of one place added up. Store 1 only, once "
            f"for each label, or pass {dense_remedy(y, name)}; where labels are "
            "missing also the long form, one label per row and tasks=."
        )
    positive = find_positive(matrix)
    classes = np.array([0, 1], dtype=matrix.dtype)
    n_samples, n_outputs = positive.shape
    return Labels(
        "wide",
        names,
        n_samples,
        n_outputs,
        Columns(lambda: _read_stored_columns(positive, classes)),
        positive=positive,
        classes=classes,
    )


def _read_stored_columns(positive: csr_array, classes: np.ndarray) -> Iterator[Column]:
    by_column = positive.tocsc()
    rows = np.arange(positive.shape[0])
    for start, stop in pairwise(by_column.indptr.tolist()):
        values = np.full(len(rows), classes[0])
        values[by_column.indices[start:stop]] = classes[1]
        yield Column(values, rows)


def _flat_names(columns: Any) -> np.ndarray:
    """Names of columns, of which several levels are joined."""
    return np.asarray(
        ["_".join(map(str, n)) if isinstance(n, tuple) else n for n in columns]
    )


def _is_one_table(y: Any) -> bool:
    """Whether the columns of a data frame are arrays of numbers, all of one dtype."""
    dtypes = set(getattr(y, "dtypes", ()))
    return len(dtypes) == 1 and all(
        isinstance(dtype, np.dtype) and dtype.kind in "biuf" for dtype in dtypes
    )


def _read_table(
    form: Form, array: np.ndarray, names: np.ndarray | None = None
) -> Labels:
    n_samples, n_outputs = array.shape
    known = number_names(n_outputs) if names is None else names.tolist()
    columns = Columns(lambda: _read_columns(_transpose(array), known))
    values = array if array.dtype.kind in "biufU" else None
    return Labels(form, names, n_samples, n_outputs, columns, values)


def _transpose(array: np.ndarray) -> Iterator[np.ndarray]:
    """Columns as contiguous arrays, copied a few at a time."""
    for start in range(0, array.shape[1], COPIED_COLUMNS):
        yield from np.ascontiguousarray(array[:, start : start + COPIED_COLUMNS].T)


def _read_columns(values: Iterator[np.ndarray], names: list[Any]) -> Iterator[Column]:
    return (read_column(v, name) for v, name in zip(values, names))


def number_names(n_tasks: int) -> list[str]:
    """Names of columns that have none."""
    return [f"task{k}" for k in range(n_tasks)]


def _read_long(
    y: Any, tasks: Any, rows: Any, weights: np.ndarray | None, n_samples: int | None
) -> Labels:
    labels, ids = _read_vector(y, "y"), read_task_ids(tasks)
    check_consistent_length(labels, ids)
    if n_samples is None:
        n_samples = len(labels)
    elif rows is None:
        check_label_per_row(len(labels), n_samples)
    else:
        rows = read_row_numbers(rows, len(labels), n_samples)
    names, outputs = np.unique(ids, return_inverse=True)
    values, observed, _ = read_column(labels, "y")
    outputs = outputs[observed]
    weights = None if weights is None else weights[observed]
    places = observed if rows is None else rows[observed]
    column = Column(values, places, weights)
    columns = Columns(lambda: _split_column(column, outputs, len(names)))
    return Labels(
        "long",
        names,
        n_samples,
        len(names),
        columns,
        values,
        (places, outputs),
        weights,
        has_rows=rows is not None,
    )


def drop_missing(labels: Labels) -> tuple[Labels, np.ndarray | None]:
    """Leave entries of the long form out that have no label; their tasks stay.

    Parameters
    ----------
    labels : Labels
        Of entries that each have a row of their own.

    Returns
    -------
    labels : Labels
    kept : ndarray of shape (n_observed,) or None
        The entries that are left; None is all, which they are too if none has a label.
    """
    if labels.places is None or labels.has_rows:
        return labels, None
    kept, outputs = labels.places
    if len(kept) in (0, labels.n_samples):
        return labels, None
    rows = np.arange(len(kept))
    column = Column(np.asarray(labels.values), rows, labels.weights)
    columns = Columns(lambda: _split_column(column, outputs, labels.n_outputs))
    labels = labels._replace(n_samples=len(kept), columns=columns)
    return labels._replace(places=(rows, outputs)), kept


def check_label_per_row(n_labels: int, n_samples: int) -> None:
    """Refuse labels of the long form that are not one for each row of inputs."""
    if n_labels != n_samples:
        raise ValueError(
            "Found input variables with inconsistent numbers of samples: X has "
            f"{n_samples} rows, y and tasks have {n_labels} entries. Pass one for each "
            "row of X, or pass rows=, the row of X of each label."
        )


def read_row_numbers(rows: Any, n_labels: int, n_samples: int) -> np.ndarray:
    """Which row of the inputs each label belongs to, of shape (n_labels,), int64.

    Raises
    ------
    ValueError
        If they are no whole numbers from 0 to n_samples - 1, or not one for each label.
    """
    array = as_array(rows)
    if array.ndim != 1 or len(array) != n_labels:
        raise ValueError(
            f"rows has shape {array.shape}, but there are {n_labels} labels in y. Pass "
            "the row of X that each label belongs to."
        )
    if len(array) and array.dtype.kind not in "iu" and not _are_integers(array):
        raise ValueError(
            f"rows holds {array.dtype}, not integers. Pass positions of rows of X, "
            "from 0 on: those of names are index.get_indexer(names), where index is "
            "that of a frame of inputs; datasets.from_table finds them in a table."
        )
    outside = (array < 0) | (array >= n_samples)
    if outside.any():
        raise ValueError(
            f"rows holds {array[outside][0]}, but X has {n_samples} rows. Pass "
            f"positions from 0 to {n_samples - 1}. Cross-validation of scikit-learn "
            "splits rows as if each were one of X: pass it X[rows] and tasks alone."
        )
    return array.astype(np.int64, copy=False)


def _are_integers(values: np.ndarray) -> bool:
    """Whether objects, such as the entries of a list, are integers."""
    return values.dtype.kind == "O" and all(
        isinstance(v, (int, np.integer)) and not isinstance(v, bool) for v in values
    )


def _split_column(
    column: Column, outputs: np.ndarray, n_outputs: int
) -> Iterator[Column]:
    """Labels of each output in turn."""
    order = np.argsort(outputs, kind="stable")
    values, rows = column.values[order], column.rows[order]
    weights = None if column.weights is None else column.weights[order]
    stops = np.cumsum(np.bincount(outputs, minlength=n_outputs)).tolist()
    for start, stop in pairwise([0, *stops]):
        part = slice(start, stop)
        yield Column(
            values[part], rows[part], None if weights is None else weights[part]
        )


def _read_vector(values: Any, argument: str) -> np.ndarray:
    array = as_array(values)
    if array.ndim != 1:
        raise ValueError(
            f"With tasks, {argument} should be a 1d array with one entry per row, got "
            f"an array of shape {array.shape}."
        )
    return array


def read_task_ids(tasks: Any) -> np.ndarray:
    """Task ids of rows, of shape (n_samples,) and a proper dtype; none is missing."""
    array = _read_vector(tasks, "tasks")
    ids = read_column(array, "tasks", "ids").values
    if len(ids) < len(array):
        raise ValueError(
            f"tasks holds {len(array) - len(ids)} missing ids. Drop these rows "
            "or name their task."
        )
    return ids


def as_array(values: Any) -> np.ndarray:
    """An array of labels as given: [1, None] and ["a", nan] survive."""
    values = as_numpy(values, "the array of labels")
    if isinstance(values, np.ma.MaskedArray):
        array = np.array(values.data, dtype=object)
        array[np.ma.getmaskarray(values)] = None
        return array
    if hasattr(values, "__array__"):
        return np.asarray(values)
    return np.array(values, dtype=object)


def read_column(values: np.ndarray, name: Any, what: str = "labels") -> Column:
    """Split one output into observed values, of a proper dtype, and their rows."""
    rows = np.arange(len(values))
    if values.dtype.kind == "f":
        observed = ~np.isnan(values)
        if not observed.all():
            values, rows = values[observed], rows[observed]
    elif values.dtype.kind == "O":
        observed = np.fromiter((not is_missing(v) for v in values), bool, len(values))
        values, rows = _infer_dtype(values[observed], name, what), rows[observed]
    if values.dtype.kind not in "biufUT":
        reason = "Complex data not supported. " if values.dtype.kind == "c" else ""
        raise ValueError(
            f"{reason}The {what} of {name!r} should be numbers, booleans or strings, "
            f"got {values.dtype}. Convert them, for instance to strings."
        )
    if values.dtype.kind == "f" and np.isinf(values).any():
        source = "y" if what == "labels" else name
        raise ValueError(
            f"Input {source} contains infinity: in {name!r}. Only NaN, None and NA "
            "stand for a label that was not observed."
        )
    return Column(values, rows)


def is_missing(value: Any) -> bool:
    if isinstance(value, (str, int)):
        return False
    if isinstance(value, (date, np.datetime64, np.timedelta64)):
        return bool(value != value)  # NaT
    return value is None or is_scalar_nan(value) or is_pandas_na(value)


def _infer_dtype(values: np.ndarray, name: Any, what: str) -> np.ndarray:
    """The numeric or string array that an object array holds."""
    if len(values) == 0:
        return np.empty(0)
    is_string = {isinstance(v, str) for v in values}
    if len(is_string) > 1:
        raise ValueError(
            f"The {what} of {name!r} mix strings and numbers. Convert them to one type."
        )
    try:
        inferred = np.array(values.tolist())
        if inferred.dtype.kind == "f" and _are_unsigned(values):
            inferred = np.array(values.tolist(), dtype=np.uint64)
    except ValueError:  # sequences of unequal length
        inferred = values
    if inferred.ndim != 1 or inferred.dtype.kind == "O":
        others = [v for v in values if not isinstance(v, (int, float, np.generic))]
        got, remedy = "integers beyond 64 bits", "Convert them, for instance to strings"
        if others:
            got = f"{type(others[0]).__name__} objects"
        if others and isinstance(others[0], (list, set)):
            remedy = "MultiLabelBinarizer makes a column for each tag in lists"
        raise ValueError(
            f"The {what} of {name!r} should be numbers, booleans or strings, got "
            f"{got}. {remedy}."
        )
    if inferred.dtype.kind in "biufU":
        _check_lossless(values, inferred, name, what)
    return inferred


def _are_unsigned(values: np.ndarray) -> bool:
    """Whether objects are integers of 64 bits, which numpy takes for floats."""
    return all(isinstance(v, (int, np.integer)) and 0 <= v < 2**64 for v in values)


def _check_lossless(
    values: np.ndarray, inferred: np.ndarray, name: Any, what: str
) -> None:
    """Refuse values that an array of one type holds as others."""
    for value, held in zip(values.tolist(), inferred.tolist()):
        exact = int(value) if isinstance(value, np.integer) else value
        if exact != held:
            raise ValueError(
                f"The {what} of {name!r} hold {value!r}, which beside the others is "
                f"kept as {held!r} in an array of one type, {inferred.dtype}. Integers "
                "beyond 2**53 need integers beside them, strings another end than NUL."
            )
