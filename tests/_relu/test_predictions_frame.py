"""Probabilities with the names of tasks."""

import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
from relu_cases import make, quick, subspace_rows, to_long
from scipy.sparse import csr_array
from sklearn.exceptions import NotFittedError

pytestmark = quick
X, Y = subspace_rows()
NAMES = list("uvwxyz")


@pytest.mark.parametrize("form", [np.asarray, csr_array, pd.DataFrame, pl.DataFrame])
def test_columns_are_tasks_and_the_index_that_of_rows(form):
    rows = form(X)
    if form is pd.DataFrame:
        rows.index = rows.index[::-1] * 10
    model = make(max_iter=2).fit(rows, pd.DataFrame(Y, columns=NAMES))
    frame = model.predict_proba_frame(rows)
    assert frame.columns.tolist() == NAMES
    expected = rows.index if form is pd.DataFrame else pd.RangeIndex(len(X))
    pd.testing.assert_index_equal(frame.index, expected)
    np.testing.assert_array_equal(frame.to_numpy(), model.predict_proba(rows))


def test_other_forms_of_labels():
    rows, y, ids = to_long(X, Y)
    frame = make().fit(rows, y, ids).predict_proba_frame(X)
    assert frame.columns.tolist() == [f"task{k}" for k in range(6)]
    colours = np.array(["red", "green", "blue"])[np.arange(len(X)) % 3]
    frame = make().fit(X, colours).predict_proba_frame(X[:4])
    assert frame.columns.tolist() == ["blue", "green", "red"]
    np.testing.assert_allclose(frame.sum(axis=1), 1)
    both = pd.DataFrame({"colour": colours, "u": Y[:, 0]})
    model = make().fit(X, both)
    frame = model.predict_proba_frame(X[:4])
    assert frame.columns.tolist() == model.task_names_.tolist()
    frame = make(pos_label="no").fit(X, np.where(Y[:, 1] > 0, "no", "yes"))
    assert frame.predict_proba_frame(X[:0]).columns.tolist() == ["yes", "no"]


def test_where_there_are_no_probabilities_or_no_pandas(monkeypatch):
    assert not hasattr(make(loss="hinge"), "predict_proba_frame")
    model = make().fit(X, Y)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"predict_proba_frame requires pandas.*prob"):
        model.predict_proba_frame(X)


def test_before_fit():
    with pytest.raises(NotFittedError, match="not fitted yet"):
        make().predict_proba_frame(X)
