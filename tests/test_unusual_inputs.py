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
    refused,
    relu,
    untouched_models,
    y,
)
from scipy import sparse
from sklearn.exceptions import UndefinedMetricWarning

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


@pytest.mark.parametrize("make", [np.asarray, pd.DataFrame, sparse.csr_array])
def test_no_rows_have_no_predictions(models, make):
    """A block of a larger array may be empty, as filters leave some of dask's."""
    is_sparse = make is sparse.csr_array
    for name, model in models.items():
        if is_sparse and not isinstance(model, type(models["alternating"])):
            continue
        tasks = {"tasks": ids[:0]} if name == "per_task" else {}
        all_tasks = {"tasks": ids} if name == "per_task" else {}
        for method in ("predict", "predict_proba", "decision_function", "transform"):
            if hasattr(model, method):
                predict = getattr(model, method)
                few = tasks if method != "transform" else {}
                whole = predict(X, **(all_tasks if few else {}))
                none = predict(make(X[:0]), **few)
                assert none.shape == (0, *whole.shape[1:]), (name, method)
                assert none.dtype == whole.dtype, (name, method)


def test_no_rows_have_no_scores_and_teach_nothing(models):
    for name in ("alternating", "gd"):
        labels = Y if name == "alternating" else y
        model = models[name]
        refused(lambda m=model, t=labels: m.score(X[:0], t[:0]), "X has 0 rows")
        refused(lambda m=model, t=labels: m.partial_fit(X[:0], t[:0]), "0 sample")


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


# ------------------------------------------------------- labels that arrays would merge

BIG = 2**53
MERGED = {
    "NUL at the end": ["a", "a\0"],
    "large integers beside a float": [BIG, BIG + 1, 0.5],
    "numbers of numpy": [np.int64(BIG), np.int64(BIG + 1), np.float64(2)],
    "large integers of both signs": [2**63, 2**63 + 1, -1],
}


@pytest.mark.parametrize("kind", MERGED)
def test_values_that_an_array_would_merge_are_refused(models, kind):
    values = np.array(MERGED[kind], dtype=object)
    values = values[np.arange(len(X)) % len(values)]
    words = "hold .*beside the others is kept as"
    for name, call in {
        "wide": lambda: relu().fit(X, np.stack([values] * 2, axis=1)),
        "single": lambda: relu().fit(X, values),
        "classes": lambda: conv().fit(X, values),
        "ids": lambda: relu().fit(X, y, values),
        "ids of rows": lambda: conv().fit(X, y, values),
        "probe": lambda: LinearProbe().fit(X, values),
        "given": lambda: relu().partial_fit(X, y, classes=MERGED[kind]),
        "score": lambda: models["single"].score(X, values),
    }.items():
        refused(call, words, name)


DISTINCT = {
    "large": [BIG, BIG + 1],
    "large and small": [2**64 - 1, 2**64 - 2, 1],
    "large of both signs": [-BIG - 1, -BIG, BIG],
    "booleans and integers": [True, 2],
    "integers and floats": [1, 2, 0.0],
    "float32 and integers": [np.float32(0.5), 1],
}


@pytest.mark.parametrize("kind", DISTINCT)
def test_values_that_look_alike_stay_distinct(kind):
    values = DISTINCT[kind]
    rows = np.arange(len(X)) % len(values)
    labels = np.array(values, dtype=object)[rows]
    model = conv(max_iter=1).fit(X, labels)
    assert model.classes_.tolist() == sorted(values)
    assert set(model.predict(X).tolist()) <= set(values)
    assert relu().fit(X, labels).classes_.tolist() == sorted(values)
    assert len(relu().fit(X, y, labels).output_names_) == len(values)


@pytest.mark.filterwarnings("ignore:.*tasks show labels of at most 1 class")
def test_labels_of_another_type_are_not_mistaken():
    """numpy compares large integers with floats as floats."""
    labels = np.where(y > 0, float(BIG), 0.0)
    model = conv(max_iter=1).fit(X, labels)
    right = model.score(X, labels)
    assert model.score(X, labels.astype(np.int64)) == right
    wrong = np.where(y > 0, BIG + 1, 7)
    assert model.score(X, wrong) == 0
    for dtype in (np.int64, np.uint64):
        labels = np.where(y > 0, 2**62, 2**62 + 1).astype(np.uint64)
        model = relu().fit(X, labels)
        same = model.score(X, labels.astype(dtype))
        assert same == model.score(X, labels)
        with pytest.warns(UndefinedMetricWarning, match="No task shows"):
            assert np.isnan(model.score(X, (labels + 9).astype(dtype)))
    frame = pd.DataFrame({"a": np.where(y > 0, BIG, BIG + 1), "b": float(BIG)})
    assert [len(c) for c in relu().fit(X, frame).classes_] == [2, 1]


def test_strings_that_end_in_nul_stay_distinct():
    names = np.array(["a", "a\0"], dtype=np.dtypes.StringDType())
    labels = names[(y > 0).astype(int)]
    model = conv(max_iter=1).fit(X, labels)
    assert model.classes_.tolist() == names.tolist()
    assert model.score(X, labels) == (model.predict(X) == labels).mean()
    plain = np.where(y > 0, "a", "b")
    assert model.score(X, plain) == ((model.predict(X) == "a") & (y > 0)).mean()
