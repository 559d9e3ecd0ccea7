"""Tables of any kind are one and the same relational form."""

import datetime
import sys
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from relu_cases import make, quick, subspace_rows

from mtrl_sklearn.datasets import _table, from_table

COLUMNS = {"input": "molecule", "task": "assay", "label": "outcome"}
TABLE = pd.DataFrame(
    {
        "assay": ["toxic", "soluble", "toxic", "toxic", "soluble", "toxic", "stable"],
        "year": range(7),
        "molecule": ["CCO", "CCO", "CCN", "CCC", "N", "CCO", "CCN"],
        "outcome": ["no", "yes", "yes", None, "no", "yes", "no"],
    }
)
ARROW = pa.Table.from_pandas(TABLE, preserve_index=False)
INPUTS = ["CCO", "CCN", "CCC", "N"]
Y = ["no", "yes", "yes", "no", "yes", "no"]
TASKS = ["toxic", "soluble", "toxic", "soluble", "toxic", "stable"]
ROWS = [0, 0, 1, 3, 0, 1]


class Relation:
    """As much of a relation of DuckDB as is read, which has columns as a frame does."""

    columns = list(TABLE.columns)

    def __arrow_c_stream__(self, requested_schema=None):
        reader = ARROW.to_reader(max_chunksize=3)
        return reader.__arrow_c_stream__(requested_schema)


def write_parquet(folder):
    path = folder / "table.parquet"
    pq.write_table(ARROW, path, row_group_size=4)
    return path


KINDS = {
    "pandas": lambda folder: TABLE,
    "polars": lambda folder: pl.from_pandas(TABLE),
    "pyarrow": lambda folder: ARROW,
    "reader": lambda folder: ARROW.to_reader(3),
    "relation": lambda folder: Relation(),
    "parquet": write_parquet,
    "parquet, str": lambda folder: str(write_parquet(folder)),
}


@pytest.mark.parametrize("batch_rows", [2, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_each_input_comes_once(tmp_path, monkeypatch, kind, batch_rows):
    monkeypatch.setattr(_table, "BATCH_ROWS", batch_rows)
    inputs, y, tasks, rows = from_table(KINDS[kind](tmp_path), **COLUMNS)
    assert inputs.tolist() == INPUTS
    assert y.tolist() == Y
    assert tasks.tolist() == TASKS
    assert rows.tolist() == ROWS
    assert rows.dtype == np.int64
    assert inputs.dtype.kind == tasks.dtype.kind == y.dtype.kind == "U"


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame, pa.table])
def test_numbers_stay_numbers(frame):
    table = frame(
        {"i": [7, 3, 7, 5], "t": [1, 0, 0, 1], "y": np.array([1.0, 0.0, np.nan, 1.0])}
    )
    found = from_table(table, input="i", task="t", label="y")
    assert [a.tolist() for a in found] == [
        [7, 3, 5],
        [1.0, 0.0, 1.0],
        [1, 0, 1],
        [0, 1, 2],
    ]
    assert [a.dtype.kind for a in found] == ["i", "f", "i", "i"]


def write(table, path):
    pq.write_table(pa.Table.from_pandas(table), path)
    return path


NAMES = {"input": "i", "task": "t", "label": "y"}


@pytest.mark.parametrize("form", ["pandas", "polars", "stream", "parquet"])
@pytest.mark.parametrize("dtype", ["u8", "u1", "i2", "f4", "M8[us]"])
def test_inputs_keep_the_dtype_of_their_column(tmp_path, form, dtype):
    last = 2**63 + 10 if dtype == "u8" else 100
    ids = np.array([last + 1, last, last + 1]).astype(dtype)
    given = pd.DataFrame({"i": ids, "t": [0, 1, 1], "y": [1, 0, 1]})
    if form == "parquet":
        table = write(given, tmp_path / "table.parquet")
    else:
        other = pa.table if form == "stream" else pl.DataFrame
        table = given if form == "pandas" else other(dict(given.items()))
    found = from_table(table, **NAMES)
    assert found.inputs.dtype == dtype
    np.testing.assert_array_equal(found.inputs, ids[:2])
    assert found.rows.tolist() == [0, 1, 0]


def test_strings_of_several_lengths_are_of_one_dtype(monkeypatch, tmp_path):
    monkeypatch.setattr(_table, "BATCH_ROWS", 1)
    given = pd.DataFrame({"i": ["a", None, "ccc", "bb"], "t": 0, "y": [1, 0, 1, 0]})
    path = write(given.assign(i=["a", "a", "ccc", "bb"]), tmp_path / "table.parquet")
    found = from_table(path, **NAMES)
    assert found.inputs.tolist() == ["a", "ccc", "bb"]
    assert found.inputs.dtype == "<U3"
    path = write(given, tmp_path / "hole.parquet")
    labels = from_table(path, input="t", task="t", label="i")
    assert labels.y.tolist() == ["a", "ccc", "bb"]
    assert labels.y.dtype == "<U3"


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame, pa.table])
def test_documents_take_the_room_of_their_own_length(frame):
    """An array of strings would have that of the longest for each, and cuts NUL."""
    texts = ["x" * 10**7, *(f"text {k}" for k in range(2000)), "text 7\0", "text 7"]
    table = {"i": texts, "t": ["a"] * len(texts), "y": [0] * len(texts)}
    found = from_table(frame(table), input="i", task="t", label="y")
    assert found.inputs.dtype == object
    assert found.inputs.tolist() == texts[:-1]
    assert found.rows.tolist() == [*range(2002), 8]
    assert found.tasks.dtype == "<U1"


DAYS = [datetime.datetime(2020, 1, day) for day in (1, 2, 1)]


@pytest.mark.parametrize(
    "hole",
    [
        lambda days: pd.Series(days).where([True, False, True]),
        lambda days: pd.Series(days, dtype=object).where([True, False, True], pd.NaT),
        lambda days: pl.Series([days[0], None, days[2]]),
        lambda days: pa.array([days[0], None, days[2]]),
        lambda days: pa.array([days[0].date(), None, days[2].date()]),
        lambda days: pd.Series(days).where([True, False, True]) - days[0],
    ],
)
@pytest.mark.parametrize("name", ["i", "t"])
def test_missing_dates_are_missing(hole, name):
    columns = {"i": [7, 3, 7], "t": [1, 0, 0], "y": [1, 0, 1]}
    column = hole(DAYS)
    make_table = {"pandas": pd.DataFrame, "polars": pl.DataFrame}
    table = make_table.get(type(column).__module__.split(".")[0], pa.table)
    if isinstance(column, pd.Series) and column.dtype == object:
        column = column.map(lambda day: 7 if day == DAYS[0] else day)
    with pytest.raises(ValueError, match=rf"'{name}' has no value in 1 rows.*Drop"):
        from_table(table(columns | {name: column}), **NAMES)


@pytest.mark.parametrize("make", ["pandas", "polars", "arrow"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_dates_with_a_time_zone_come_in_utc(make, zone):
    days = pd.Series(DAYS).dt.tz_localize(zone)
    frame = pd.DataFrame({"i": days, "t": [1, 0, 0], "y": [1, 0, 1]})
    table = {"pandas": frame, "polars": pl.from_pandas(frame)}
    table["arrow"] = table["polars"].to_arrow()
    labels = from_table(table[make], **NAMES)
    expected = days.dt.tz_convert(None).to_numpy()[:2]
    np.testing.assert_array_equal(labels.inputs, expected)
    assert labels.inputs.dtype.kind == "M"
    assert labels.rows.tolist() == [0, 1, 0]
    late = frame.assign(i=days.where([True, False, True]))
    with pytest.raises(ValueError, match="'i' has no value in 1 rows"):
        from_table(late, **NAMES)


@pytest.mark.parametrize(
    "labels",
    [
        lambda y: pl.Series(y),
        lambda y: pd.Series(y, dtype="boolean"),
        lambda y: pd.Series(y, dtype=object),
        lambda y: pa.array(y),
        None,
    ],
)
def test_boolean_labels_may_be_missing(tmp_path, labels):
    y = [True, None, False]
    columns = {"i": [7, 3, 7], "t": [1, 0, 0]}
    if labels is None:
        frame = pd.DataFrame(columns).assign(y=pd.Series(y, dtype=object))
        table = write(frame, tmp_path / "table.parquet")
    else:
        column = labels(y)
        make_table = {"pandas": pd.DataFrame, "polars": pl.DataFrame}
        of = make_table.get(type(column).__module__.split(".")[0], pa.table)
        table = of(columns | {"y": column})
    found = from_table(table, **NAMES)
    assert found.y.dtype == bool
    assert found.y.tolist() == [True, False]
    assert found.rows.tolist() == [0, 0]
    assert found.inputs.tolist() == [7, 3]


OTHER_VALUES = {
    "decimals": ([Decimal(1), Decimal(2), None], "got Decimal objects. Convert"),
    "bytes": ([b"a", b"b", None], r"got \|S1\. Convert"),
    "tuples": ([(1, 2), (1, 3), None], "got tuple objects. Convert"),
    "ragged": ([(1, 2), (1,), None], "got tuple objects. Convert"),
    "objects": ([object()] * 3, "got object objects. Convert"),
    "mixed": (["a", 1, 2], "mix strings and numbers. Convert them to one type"),
    "infinity": ([1, np.inf, 2], "contains infinity: in"),
}


@pytest.mark.parametrize("kind", OTHER_VALUES)
@pytest.mark.parametrize("name", NAMES)
def test_other_values_are_refused_by_name(kind, name):
    values, words = OTHER_VALUES[kind]
    columns = {"i": [7, 3, 7], "t": [1, 0, 0], "y": [1, 0, 1]}
    table = pd.DataFrame(columns).assign(**{NAMES[name]: values})
    with pytest.raises(ValueError, match=words) as raised:
        from_table(table, **NAMES)
    assert f"{NAMES[name]!r}" in str(raised.value)


def test_decimals_and_bytes_of_arrow_are_refused_by_name():
    for values in ([Decimal("1.5"), None], [b"a", None]):
        for form in (pa.table, pl.DataFrame):
            table = form({"i": [7, 3], "t": [1, 0], "y": values})
            with pytest.raises(ValueError, match="The labels of 'y' should be numbers"):
                from_table(table, **NAMES)


def test_columns_of_structs_are_refused_by_name():
    table = pl.DataFrame({"i": [7, 3], "t": [1, 0], "y": [{"a": 1}, None]})
    with pytest.raises(ValueError, match="labels of 'y' should be single values"):
        from_table(table, **NAMES)


def test_two_columns_of_a_name(tmp_path):
    twice = [pa.array([1, 2])] * 4
    arrow = pa.Table.from_arrays(twice, names=["i", "t", "y", "t"])
    path = tmp_path / "table.parquet"
    pq.write_table(arrow, path)
    frame = pd.DataFrame(np.ones((2, 4)), columns=list("itty"))
    for table in (arrow, path, frame):
        with pytest.raises(ValueError, match=r"2 columns named 't'\. Rename"):
            from_table(table, **NAMES)


@pytest.mark.parametrize("as_path", [str, lambda path: path])
def test_a_path_of_another_file(tmp_path, as_path):
    path = tmp_path / "table.csv.gz"
    TABLE.to_csv(path)
    with pytest.raises(
        ValueError, match=r"table='.*table\.csv\.gz' is no Parquet.*pandas\.read_csv"
    ) as raised:
        from_table(as_path(path), **COLUMNS)
    assert type(raised.value) is ValueError
    assert from_table(pd.read_csv(path), **COLUMNS).inputs.tolist() == INPUTS
    with pytest.raises(FileNotFoundError):
        from_table(tmp_path / "none.parquet", **COLUMNS)


@quick
def test_it_is_what_fit_takes():
    X, Y = subspace_rows()
    rows, columns = np.nonzero(~np.isnan(Y))
    order = np.random.default_rng(0).permutation(len(rows))
    rows, columns = rows[order], columns[order]
    table = pd.DataFrame({"row": rows, "task": columns, "label": Y[rows, columns] > 0})
    data = from_table(table, input="row", task="task", label="label")
    assert data.y.dtype == bool
    np.testing.assert_array_equal(data.inputs[data.rows], rows)
    model = make().fit(X[data.inputs], data.y, tasks=data.tasks, rows=data.rows)
    assert model.score(X[data.inputs], data.y, data.tasks, rows=data.rows) > 0.6


def test_bad_tables(tmp_path, monkeypatch):
    names = {**COLUMNS, "task": "essay"}
    for kind in KINDS:
        with pytest.raises(
            ValueError, match=r"no column 'essay'\. Its columns are 'ass"
        ):
            from_table(KINDS[kind](tmp_path), **names)
    for empty in (
        TABLE[:0],
        pl.from_pandas(TABLE)[:0],
        ARROW[:0],
    ):
        with pytest.raises(ValueError, match="The table has no rows"):
            from_table(empty, **COLUMNS)
    for name in ("molecule", "assay"):
        hole = TABLE.assign(**{name: TABLE[name].where(TABLE["year"] > 1, None)})
        for form in (hole, pl.from_pandas(hole)):
            with pytest.raises(ValueError, match=f"'{name}' has no value in 2 rows"):
                from_table(form, **COLUMNS)
    for other in (None, 3, [1, 2], np.zeros((3, 3)), {"molecule": ["C"]}):
        with pytest.raises(TypeError, match="table should be a pandas or polars"):
            from_table(other, **COLUMNS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"from_table requires pyarrow.*\[tables\]"):
        from_table(Relation(), **COLUMNS)
    assert from_table(TABLE, **COLUMNS).inputs.tolist() == INPUTS
