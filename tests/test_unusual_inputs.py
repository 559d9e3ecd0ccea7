"""Input of unusual form, which gives what the plain form of it gives."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from bad_input_cases import (
    NAN,
    QUIET,
    X,
    Y,
    conv,
    ids,
    relu,
    untouched_models,
    y,
)
from scipy import sparse

from mtrl_sklearn.probing import (
    LinearProbe,
)

pytestmark = QUIET
models = pytest.fixture(untouched_models)


# ------------------------------------------------------------ unusual input that works

ROUND = np.round(4 * X)  # numbers that all types hold


def backwards(rows):
    return rows[::-1, ::-1].copy()[::-1, ::-1]


def read_only(rows):
    rows = rows.copy()
    rows.flags.writeable = False
    return rows


class Annotated(np.ndarray):
    """Stands for subclasses of arrays, as astropy's quantities are."""


SAME_X = {
    "not contiguous": lambda rows: np.repeat(rows, 2, axis=1)[:, ::2],
    "negative strides": backwards,
    "read-only": read_only,
    "Fortran order": np.asfortranarray,
    "Fortran order, read-only": lambda rows: read_only(np.asfortranarray(rows)),
    "masked array without masks": lambda rows: np.ma.masked_array(rows, mask=False),
    "objects": lambda rows: rows.astype(object),
    "other bytes": lambda rows: rows.astype(rows.dtype.newbyteorder()),
    "lists": lambda rows: rows.tolist(),
    "tuples of lists": lambda rows: tuple(rows.tolist()),
    "strings of numbers": lambda rows: rows.astype(str),
    "pandas": pd.DataFrame,
    "pandas with names": lambda rows: pd.DataFrame(rows).add_prefix("x"),
    "pandas with names of ints": lambda r: pd.DataFrame(r, columns=range(9, 14)),
    "pandas with nullable types": lambda rows: pd.DataFrame(rows, dtype="Float64"),
    "pandas from arrow": lambda rows: pd.DataFrame(rows, dtype="float64[pyarrow]"),
    "pandas, another index": lambda rows: pd.DataFrame(rows, index=[7] * len(rows)),
    "polars": lambda rows: pl.DataFrame(rows),
    "a subclass": lambda rows: rows.view(Annotated),
    "long doubles": lambda rows: rows.astype(np.longdouble),
    "int64": lambda rows: rows.astype(np.int64),
    "int16": lambda rows: rows.astype(np.int16),
    "int8": lambda rows: rows.astype(np.int8),
    "float16": lambda rows: rows.astype(np.float16),
    "int64 of pandas": lambda rows: pd.DataFrame(rows.astype(int), dtype="Int64"),
}
LEARNED_IN_FLOAT32 = ["int64", "int16", "int8", "float16"]
SPARSE_X = ["csr", "csc", "coo", "bsr", "dia", "lil", "dok"]
LEARNERS = {
    "alternating": lambda rows: relu().fit(rows, Y),
    "one_step": lambda rows: relu(algorithm="one_step").fit(rows, Y),
    "gd": lambda rows: conv(solver="gd").fit(rows, y),
    "adam": lambda rows: conv(solver="adam").fit(rows, y),
    "probe": lambda rows: LinearProbe().fit(rows, y),
}


@pytest.fixture(scope="module")
def learned():
    return {name: learn(ROUND) for name, learn in LEARNERS.items()}


@pytest.mark.parametrize(
    ("name", "form"),
    [
        (name, form)
        for name in LEARNERS
        for form in [*SAME_X, "memory map", *SPARSE_X]
        if form not in SPARSE_X or name in ("alternating", "one_step")
    ],
)
def test_unusual_rows_give_what_plain_ones_give(learned, name, form, tmp_path):
    if form == "memory map":
        np.save(tmp_path / "X.npy", ROUND)
        rows = np.load(tmp_path / "X.npy", mmap_mode="r")
    elif form in SPARSE_X:
        rows = sparse.csr_array(ROUND).asformat(form)
    else:
        rows = SAME_X[form](ROUND)
    plain, tolerance = learned[name], {"rtol": 1e-9, "atol": 1e-9}
    expected = plain.decision_function(ROUND)
    if form in LEARNED_IN_FLOAT32:
        tolerance = {"rtol": 1e-3, "atol": 1e-3}
        plain = LEARNERS[name](ROUND.astype(np.float32))
        expected = plain.decision_function(ROUND.astype(np.float32))
    np.testing.assert_allclose(plain.decision_function(rows), expected, **tolerance)
    found = LEARNERS[name](rows).decision_function(rows)
    np.testing.assert_allclose(found, expected, **tolerance)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "uint32"])
@pytest.mark.parametrize("name", LEARNERS)
def test_rows_without_signs_give_what_floats_give(name, dtype):
    rows = (X > 0).astype(dtype)
    found = LEARNERS[name](rows).decision_function(rows)
    plain = LEARNERS[name](rows.astype(np.float32)).decision_function(rows)
    np.testing.assert_allclose(found, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "name", ["alternating", "single", "long", "gd", "adam", "probe"]
)
def test_one_row_is_predicted_as_among_others(models, name):
    model = models[name]
    methods = ["predict", "predict_proba", "decision_function", "transform"]
    for method in methods[: 4 if hasattr(model, "transform") else 3]:
        whole = getattr(model, method)(X)
        for rows in (X[3:4], X[3:4].tolist(), X[3:4].copy(order="F")):
            alone = getattr(model, method)(rows)
            if whole.dtype.kind == "f":
                np.testing.assert_allclose(alone, whole[3:4], rtol=1e-9, atol=1e-12)
            else:
                np.testing.assert_array_equal(alone, whole[3:4])


@pytest.mark.parametrize("name", ["alternating", "gd"])
def test_one_row_of_an_array_that_runs_backwards(models, name):
    """Such a row is contiguous to numpy, and none to torch."""
    row = X[::-1][3:4]
    found = models[name].decision_function(row)
    np.testing.assert_allclose(found, models[name].decision_function(row.copy()))


SAME_LABELS = {
    "int8": lambda y: y.astype(np.int8),
    "uint64": lambda y: y.astype(np.uint64),
    "bool": lambda y: y.astype(bool),
    "float16": lambda y: y.astype(np.float16),
    "other bytes": lambda y: y.astype(">f4"),
    "strings": lambda y: np.where(y > 0, "yes", "no"),
    "strings of numpy 2": lambda y: np.where(y > 0, "yes", "no").astype(
        np.dtypes.StringDType()
    ),
    "objects": lambda y: y.astype(object),
    "lists": lambda y: y.tolist(),
    "backwards": lambda y: y[::-1].copy()[::-1],
    "read-only": read_only,
    "nullable": lambda y: pandas_of(y, "Int64"),
    "nullable booleans": lambda y: pandas_of(y, "boolean"),
    "arrow": lambda y: pandas_of(y, "int64[pyarrow]"),
    "categories": lambda y: pandas_of(np.where(y > 0, "yes", "no"), "category"),
    "strings of pandas": lambda y: pandas_of(np.where(y > 0, "yes", "no"), "string"),
    "polars": lambda y: pl.DataFrame(y) if y.ndim == 2 else pl.Series(y),
    "not masked": lambda y: np.ma.masked_array(y, mask=False),
}


def pandas_of(labels, dtype):
    kind = pd.DataFrame if labels.ndim == 2 else pd.Series
    return kind(labels).astype(dtype)


@pytest.mark.parametrize("form", SAME_LABELS)
def test_unusual_labels_give_what_plain_ones_give(models, form):
    make = SAME_LABELS[form]
    plain = models["alternating"].decision_function(X)
    np.testing.assert_array_equal(relu().fit(X, make(Y)).decision_function(X), plain)
    for name, learn in (
        ("single", lambda labels: relu().fit(X, labels)),
        ("long", lambda labels: relu().fit(X, labels, ids)),
        ("gd", lambda labels: conv(solver="gd").fit(X, labels, ids)),
        ("probe", lambda labels: LinearProbe(models["alternating"]).fit(X, labels)),
    ):
        found = learn(make(y)).decision_function(X)
        np.testing.assert_array_equal(found, models[name].decision_function(X), name)


def test_masked_labels_are_not_observed():
    hidden = X[:, :4] > 1
    expected = relu().fit(X, np.where(hidden, NAN, Y)).decision_function(X)
    masked = np.ma.masked_array(Y, hidden)
    np.testing.assert_array_equal(relu().fit(X, masked).decision_function(X), expected)
    some = relu().fit(X, np.ma.masked_array(y, hidden[:, 0]), ids).decision_function(X)
    dropped = relu().fit(X, np.where(hidden[:, 0], NAN, y), ids).decision_function(X)
    np.testing.assert_array_equal(some, dropped)


@pytest.mark.parametrize("scale", [1e-300, 1e-3, 1e300, 1.7e308])
def test_only_ratios_of_weights_matter_to_a_score(models, scale):
    weights = np.where(ids, 0.25, 1.0)
    for model, labels in ((models["alternating"], Y), (models["gd"], y)):
        expected = model.score(X, labels, sample_weight=weights)
        got = model.score(X, labels, sample_weight=scale * weights)
        assert got == pytest.approx(expected)
    for model, labels in ((models["alternating"], Y), (models["gd"], y)):
        scalar = model.score(X, labels, sample_weight=3.0)
        assert scalar == pytest.approx(model.score(X, labels))
