"""Tables of any kind are one and the same relational form."""

import sys

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
