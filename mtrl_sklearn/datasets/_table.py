"""A table of inputs, tasks and labels as the relational form of labels."""

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from mtrl_sklearn._labels.columns import (
    Column,
    as_array,
    is_missing,
    read_column,
)
from mtrl_sklearn._optional import require

# Rows of a Parquet file that are read at a time.
BATCH_ROWS = 100_000

# An array of strings has room for the longest at each place: longer ones are objects.
MOST_CHARACTERS = 128

# Types of polars whose values are strings.
TEXT_TYPES = {"String", "Categorical", "Enum"}


class TableLabels(NamedTuple):
    """What :func:`from_table` returns: inputs once, and labels that say theirs."""

    inputs: np.ndarray  # (n_samples,), distinct, in the order in which they first come
    y: np.ndarray  # (n_labels,)
    tasks: np.ndarray  # (n_labels,)
    rows: np.ndarray  # (n_labels,), positions in inputs


def from_table(table: Any, *, input: str, task: str, label: str) -> TableLabels:
    """Read a table with a row for each label: of this input, in this task.

    What it returns goes into `MultiTaskReLURepresentation.fit` as ``fit(X, y,
    tasks=tasks, rows=rows)``, with a row of features in X for each of ``inputs``.

    Parameters
    ----------
    table : pandas or polars DataFrame, pyarrow Table, DuckDB relation, or path
        A DuckDB relation, any other object with an Arrow stream
        (``__arrow_c_stream__``) and a Parquet file, named by its path, are read by
        batches, so that only numbers of values and what is returned are in memory; this
        needs pyarrow, extra ``tables``.
    input, task, label : str
        Names of columns. An input may be a number, a string or a date: a molecule, a
        document, the row of an array. Dates with a time zone come in UTC. Further
        columns are not read.

    Returns
    -------
    TableLabels
        ``inputs`` of shape (n_samples,), distinct; ``y``, ``tasks`` and ``rows`` of
        shape (n_labels,). Rows of the table whose label is missing have no entry there,
        but their inputs are among ``inputs``. Values have the dtype of their column;
        strings are objects where one has more than 128 characters, as documents have.

    Raises
    ------
    ValueError
        If the table lacks one of the columns, has two of its name or no rows, if an
        input or a task is missing, if a column holds other objects than numbers,
        booleans, strings and dates, or both strings and numbers, or if a path is of
        another file than of Parquet.
    TypeError
        If it is no table.
    ImportError
        If pyarrow is needed and not installed.

    Examples
    --------
    >>> import pandas as pd
    >>> from mtrl_sklearn.datasets import from_table
    >>> table = pd.DataFrame(
    ...     {
    ...         "molecule": ["CCO", "CCN", "CCO", "CCC"],
    ...         "assay": ["toxic", "toxic", "soluble", "soluble"],
    ...         "outcome": [1, 0, 1, None],
    ...     }
    ... )
    >>> data = from_table(table, input="molecule", task="assay", label="outcome")
    >>> data.inputs.tolist()
    ['CCO', 'CCN', 'CCC']
    >>> data.rows.tolist(), data.tasks.tolist(), data.y.tolist()
    ([0, 1, 0], ['toxic', 'toxic', 'soluble'], [1.0, 0.0, 1.0])
    """
    names = {"input": input, "task": task, "label": label}
    codes: dict[str, _Codes] = {k: _Codes(k, name) for k, name in names.items()}
    for columns in _read_columns(table, [*names.values()]):
        for kind, column in zip(names, columns):
            codes[kind].add(column)
    for kind in ("input", "task"):
        n_missing = sum(int((part < 0).sum()) for part in codes[kind].parts)
        if n_missing:
            raise ValueError(
                f"The column {names[kind]!r} has no value in {n_missing} rows of the "
                f"table. Drop these rows, or name their {kind}."
            )
    rows, of_tasks, of_labels = (codes[kind].join() for kind in names)
    if not len(rows):
        raise ValueError("The table has no rows.")
    kept = of_labels >= 0
    return TableLabels(
        codes["input"].values(),
        codes["label"].values()[of_labels[kept]],
        codes["task"].values()[of_tasks[kept]],
        rows[kept],
    )


class _Codes:
    """Values of a column by their number, in the order in which they first come."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name = kind, name
        self.known: dict[Any, int] = {}
        self.parts: list[np.ndarray] = []
        self.dtypes: list[np.dtype] = []

    def add(self, column: np.ndarray) -> None:
        """Number the values of some rows; -1 stands for a missing one."""
        if column.ndim != 1:
            raise ValueError(
                f"The {self.kind}s of {self.name!r} should be single values, got "
                "several per row. Name a column of one, or convert them to strings."
            )
        texts = _read_texts(column)
        if texts is None:
            part = self._number_values(column)
        else:
            values, rows = texts
            part = np.full(len(column), -1, dtype=np.int64)
            part[rows] = [self.known.setdefault(v, len(self.known)) for v in values]
            self.dtypes.append(np.dtype("U"))
        self.parts.append(part)

    def _number_values(self, column: np.ndarray) -> np.ndarray:
        values, rows, _ = self._observed(column)
        if len(values):
            self.dtypes.append(values.dtype)
        distinct, first, places = np.unique(
            values, return_index=True, return_inverse=True
        )
        listed = distinct.tolist()
        numbers = np.empty(len(distinct), dtype=np.int64)
        for k in np.argsort(first).tolist():
            numbers[k] = self.known.setdefault(listed[k], len(self.known))
        part = np.full(len(column), -1, dtype=np.int64)
        part[rows] = numbers[places]
        return part

    def _observed(self, column: np.ndarray) -> Column:
        """Values that are not missing, of a proper dtype, and their rows."""
        if column.dtype.kind not in "Mm":
            return read_column(column, self.name, f"{self.kind}s")
        rows = np.flatnonzero(~np.isnat(column))
        return Column(column[rows], rows)

    def join(self) -> np.ndarray:
        """Numbers of all rows, of shape (n_rows,)."""
        return np.concatenate([np.empty(0, np.int64), *self.parts])

    def values(self) -> np.ndarray:
        """The values in the order of their numbers, of the dtype of the column."""
        dtype = np.result_type(*self.dtypes) if self.dtypes else np.dtype(np.float64)
        if dtype.kind == "U" and any(map(_needs_object, self.known)):
            dtype = np.dtype(object)
        return np.array(list(self.known), dtype=dtype)


def _read_texts(column: np.ndarray) -> tuple[list[str], np.ndarray] | None:
    """Strings of a column of objects, and their rows; None if it holds others."""
    if column.dtype.kind != "O":
        return None
    rows = np.flatnonzero([isinstance(value, str) for value in column])
    n_missing = sum(not isinstance(v, str) and is_missing(v) for v in column)
    if not len(rows) or len(rows) + n_missing < len(column):
        return None
    return column[rows].tolist(), rows


def _needs_object(text: str) -> bool:
    """Whether an array of strings would be far too wide for it, or cut its end."""
    return len(text) > MOST_CHARACTERS or text.endswith("\0")


def _read_columns(table: Any, names: list[str]) -> Iterator[list[np.ndarray]]:
    """Some columns of a table, in batches of its rows."""
    if isinstance(table, (str, os.PathLike)):
        parquet = require("pyarrow.parquet", "tables", "from_table")
        with _open_parquet(parquet, table) as file:
            _check_names(names, file.schema_arrow.names)
            for batch in file.iter_batches(BATCH_ROWS, columns=[*set(names)]):
                yield [_to_array(batch.column(name)) for name in names]
    elif hasattr(table, "to_numpy") and hasattr(table, "columns"):
        _check_names(names, [*table.columns])
        yield [_read_frame_column(table[name]) for name in names]
    else:
        yield from _read_stream(table, names)


def _read_frame_column(column: Any) -> np.ndarray:
    """An array of a column of a frame; of dates with a time zone those in UTC."""
    dtype = getattr(column, "dtype", None)
    if str(dtype).partition("(")[0] in TEXT_TYPES:
        return np.array(column.to_list(), dtype=object)
    if getattr(dtype, "tz", None) is None:
        return as_array(column)
    return column.to_numpy(dtype=f"datetime64[{column.dtype.unit}]")


def _open_parquet(parquet: Any, path: Any) -> Any:
    try:
        return parquet.ParquetFile(path)
    except ValueError as error:
        raise ValueError(
            f"table={os.fspath(path)!r} is no Parquet file, which a path should be of. "
            "Read other files first, CSV with pandas.read_csv, and pass the DataFrame."
        ) from error


def _read_stream(table: Any, names: list[str]) -> Iterator[list[np.ndarray]]:
    """The same of an Arrow stream, which a DuckDB relation is, too."""
    if not hasattr(table, "__arrow_c_stream__"):
        raise TypeError(
            "table should be a pandas or polars DataFrame, a pyarrow Table, a DuckDB "
            f"relation or the path of a Parquet file, got {type(table).__name__}."
        )
    arrow = require("pyarrow", "tables", "from_table")
    reader = arrow.RecordBatchReader.from_stream(table)
    _check_names(names, reader.schema.names)
    for batch in reader:
        yield [_to_array(batch.column(name)) for name in names]


def _to_array(column: Any) -> np.ndarray:
    """An array of Arrow, with None or NaN where a value is missing."""
    return as_array(column.to_numpy(zero_copy_only=False))


def _check_names(names: list[str], there: list[str]) -> None:
    for name in names:
        if name not in there:
            raise ValueError(
                f"The table has no column {name!r}. Its columns are "
                f"{', '.join(map(repr, there[:20]))}."
            )
        if there.count(name) > 1:
            raise ValueError(
                f"The table has {there.count(name)} columns named {name!r}. Rename or "
                "drop all but one."
            )
