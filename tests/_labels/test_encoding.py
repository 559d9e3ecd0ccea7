"""Labels in any encoding, to signs and back."""

import tracemalloc
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.sparse import csr_array

from mtrl_sklearn._labels import signs as _signs
from mtrl_sklearn._labels.classes import find_classes, find_codes, read_class_labels
from mtrl_sklearn._labels.columns import read_labels, read_task_ids
from mtrl_sklearn._labels.encoding import (
    check_usable_tasks,
    find_encoding,
    learn_encoding,
    warn_of_names,
)
from mtrl_sklearn._labels.signs import count_signs

NAN = np.nan
WIDE = [[0, 1, NAN], [1, NAN, 0], [0, 0, 1]]
SIGNS = [[-1, 1, 0], [1, 0, -1], [-1, -1, 1]]


def relabel(low, high, missing):
    return [[missing if v != v else (high if v else low) for v in row] for row in WIDE]


ENCODINGS = {
    "float array": np.array(WIDE),
    "float32 array": np.array(WIDE, dtype=np.float32),
    "minus one and one": np.array(relabel(-1, 1, NAN)),
    "any two floats": np.array(relabel(0.25, 1.75, NAN)),
    "list of numbers": relabel(0, 1, None),
    "list of booleans": relabel(False, True, None),
    "list of strings": relabel("inactive", "jolly", None),
    "strings and nan": relabel("inactive", "jolly", NAN),
    "pandas.NA": np.array(relabel(0, 1, pd.NA), dtype=object),
    "pandas": pd.DataFrame(WIDE, columns=["a", "b", "c"]),
    "pandas Int64": pd.DataFrame(relabel(0, 1, pd.NA), dtype="Int64"),
    "pandas boolean": pd.DataFrame(relabel(False, True, pd.NA), dtype="boolean"),
    "pandas string": pd.DataFrame(relabel("n", "y", pd.NA), dtype="string"),
    "pandas categories": pd.DataFrame(relabel("n", "y", None)).astype("category"),
    "polars": pl.DataFrame(relabel(0, 1, None), schema=["a", "b", "c"], orient="row"),
    "polars strings": pl.DataFrame(
        relabel("n", "y", None), schema=["a", "b", "c"], orient="row"
    ),
    "Fortran order": np.asfortranarray(WIDE),
    "bytes in the other order": np.array(WIDE, dtype=">f8"),
    "pandas in several blocks": pd.DataFrame(
        {k: np.array(WIDE)[:, k] for k in range(3)}
    ),
}


@pytest.mark.parametrize("y", ENCODINGS.values(), ids=ENCODINGS.keys())
def test_every_encoding_gives_the_same_signs(y):
    encoding = learn_encoding(y)
    assert encoding.form == "wide"
    signs = encoding.encode(y)
    assert signs.dtype == np.int8
    np.testing.assert_array_equal(signs, SIGNS)


@pytest.mark.parametrize("y", ENCODINGS.values(), ids=ENCODINGS.keys())
def test_decoding_returns_the_callers_labels(y):
    encoding = learn_encoding(y)
    scores = np.array([[-2.0, 3.0, 0.5], [1.0, -1.0, -0.5]])
    decoded = encoding.decode(scores)
    low, high = encoding.classes[0]
    expected = np.array([[low, high, high], [high, low, low]])
    np.testing.assert_array_equal(decoded, expected)
    np.testing.assert_array_equal(encoding.encode(decoded), np.sign(scores))


def test_names_come_from_columns_or_are_numbered():
    assert learn_encoding(ENCODINGS["pandas"]).outputs.tolist() == ["a", "b", "c"]
    names = learn_encoding(np.array(WIDE)).outputs.tolist()
    assert names == ["task0", "task1", "task2"]


def test_one_dimensional_labels_are_one_task_or_one_vs_rest():
    binary = learn_encoding(["no", "yes", None, "no"])
    np.testing.assert_array_equal(
        binary.encode(["no", "yes", None, "no"]), [[-1], [1], [0], [-1]]
    )
    np.testing.assert_array_equal(binary.decode(np.array([[1], [-1]])), ["yes", "no"])

    colours = learn_encoding(["red", "green", "blue", "red"])
    assert colours.n_tasks == 3
    assert colours.task_names.tolist() == ["y=blue", "y=green", "y=red"]
    np.testing.assert_array_equal(
        colours.encode(["red", None, "blue"]), [[-1, -1, 1], [0, 0, 0], [1, -1, -1]]
    )
    scores = np.array([[0.1, 0.2, -3], [-1, -2, -0.5]])
    np.testing.assert_array_equal(colours.decode(scores), ["green", "red"])


def test_columns_with_more_classes_become_one_vs_rest_tasks():
    y = pd.DataFrame({"a": [0, 1, None, 1], "b": ["u", "v", "w", None]})
    encoding = learn_encoding(y)
    assert encoding.task_names.tolist() == ["a", "b=u", "b=v", "b=w"]
    np.testing.assert_array_equal(
        encoding.encode(y),
        [[-1, 1, -1, -1], [1, -1, 1, -1], [0, -1, -1, 1], [1, 0, 0, 0]],
    )
    decoded = encoding.decode(np.array([[1.0, 0, 2, 1], [-1, 3, 2, 1]]))
    assert decoded.tolist() == [[1, "v"], [0, "u"]]


@pytest.mark.parametrize("ids", [["u", "v", "w"], [30, 10, 20]])
def test_long_form_equals_wide_form(ids):
    rows, columns = np.nonzero(~np.isnan(WIDE))
    y, tasks = np.array(WIDE)[rows, columns], np.array(ids)[columns]
    encoding = learn_encoding(y, tasks)
    assert encoding.outputs.tolist() == sorted(ids)
    order = np.argsort(ids)
    expected = np.zeros((len(y), 3))
    expected[np.arange(len(y)), columns] = np.array(SIGNS)[rows, columns]
    np.testing.assert_array_equal(encoding.encode(y, tasks), expected[:, order])


def test_long_form_skips_missing_labels_and_keeps_their_rows():
    y, tasks = [1, None, 0, 1], ["a", "a", "a", "b"]
    signs = learn_encoding(y, tasks).encode(y, tasks)
    np.testing.assert_array_equal(signs, [[1, 0], [0, 0], [-1, 0], [0, 1]])


def test_two_values_in_all_are_the_classes_of_every_column():
    y = np.array([["a", "b", "b"], ["b", "b", "b"]])
    encoding = learn_encoding(y)
    assert [c.tolist() for c in encoding.classes] == [["a", "b"]] * 3
    np.testing.assert_array_equal(encoding.encode(y), [[-1, 1, 1], [1, 1, 1]])


def test_columns_of_different_types_keep_their_own_classes():
    y = pd.DataFrame({"a": ["x", "x"], "b": [1, 1]})
    encoding = learn_encoding(y)
    assert [c.tolist() for c in encoding.classes] == [["x"], [1]]
    assert encoding.decode(np.zeros((1, 2))).tolist() == [["x", 1]]


def test_classes_may_be_given_where_labels_do_not_show_them():
    encoding = learn_encoding([[0], [0]], classes=[0, 1])
    np.testing.assert_array_equal(encoding.encode([[1], [0]]), [[1], [-1]])


def test_named_columns_may_come_in_another_order():
    y = ENCODINGS["pandas"]
    signs = learn_encoding(y).encode(y[["c", "a", "b"]])
    np.testing.assert_array_equal(signs, SIGNS)


def test_hidden_columns_take_part_without_a_label():
    encoding = learn_encoding([[0, None], [1, None]])
    np.testing.assert_array_equal(encoding.encode([[0, None]]), [[-1, 0]])


BAD_LABELS = {
    "nothing": (None, "requires y to be passed"),
    "all missing": ([NAN, NAN], "no observed label"),
    "infinity": ([0, 1, np.inf], "infinity"),
    "continuous": ([0.1, 0.2, 0.7], "continuous"),
    "three dimensions": (np.zeros((2, 2, 2)), r"\(2, 2, 2\)"),
    "no column": (np.zeros((2, 0)), r"\(2, 0\)"),
    "ragged": ([[0, 1], [1]], "numbers, booleans or strings, got list"),
    "mixed types": ([[0], ["a"], [1]], "mix strings and numbers"),
    "objects": (np.array([object(), object()]), "should be numbers"),
    "complex": (np.array([1j, 2j]), "Complex"),
    "same names twice": (
        pd.DataFrame([[0, 1], [1, 0]], columns=["a", "a"]),
        "distinct names",
    ),
}


@pytest.mark.parametrize(("y", "message"), BAD_LABELS.values(), ids=BAD_LABELS.keys())
def test_bad_labels_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        learn_encoding(y)


def test_sparse_labels_are_an_indicator():
    encoding = learn_encoding(csr_array(np.eye(3)))
    assert [values.tolist() for values in encoding.classes] == [[0, 1]] * 3
    signs = encoding.encode(csr_array(np.eye(3)))
    np.testing.assert_array_equal(signs, 2 * np.eye(3) - 1)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (["a", "b"], "inconsistent"),
        ([["a"], ["b"], ["c"]], "1d"),
        (["a", None, "b"], "1 missing ids"),
        (["a", 1, "b"], "mix strings and numbers"),
    ],
)
def test_bad_task_ids_are_refused(tasks, message):
    with pytest.raises(ValueError, match=message):
        learn_encoding([0, 1, 1], tasks)


@pytest.mark.parametrize(
    ("y", "tasks", "message"),
    [
        ([[0, 2, 1]], None, "label 2 in 'task1'.*partial_fit"),
        ([["0", "1", "1"]], None, "label '0'"),
        ([[0, 1]], None, "columns of y differ"),
        ([0, 1], None, "form"),
        ([0, 1], ["a", "b"], "form"),
    ],
)
def test_labels_unlike_those_of_fit_are_refused(y, tasks, message):
    with pytest.raises(ValueError, match=message):
        learn_encoding(np.array(WIDE)).encode(y, tasks)


def test_unknown_task_ids_are_refused_with_the_known_ones():
    encoding = learn_encoding([0, 1], ["a", "b"])
    with pytest.raises(ValueError, match=r"got 1 \('c'\), fitted on 2 \('a', 'b'\)"):
        encoding.encode([1], ["c"])


def test_unusable_tasks_are_named():
    names = np.array(["good", "flat", "empty"])
    signs = np.array([[1, 1, 0], [-1, 1, 0]])
    with pytest.warns(UserWarning, match=r"2 of 3 tasks.*'flat', 'empty'"):
        check_usable_tasks(*count_signs(signs), names, 2)
    with pytest.raises(ValueError, match="no usable task"):
        check_usable_tasks(*count_signs(signs[:, 1:2]), names[1:2], 2)


@pytest.mark.parametrize("tasks", [None, [0, 0, 0, 1]])
def test_an_empty_output_beside_many_classes_is_no_obstacle(tasks):
    y = [0, 1, 2, None] if tasks else [[0, None], [1, None], [2, None], [0, None]]
    encoding = learn_encoding(y, tasks)
    assert encoding.n_tasks == 4
    signs = encoding.encode(y, tasks)
    assert not signs[:, 3].any()
    assert np.isnan(encoding.decode(np.zeros((1, 4)))[0, 1])


def test_labels_that_fit_did_not_see_may_be_told_apart_from_missing():
    y = pd.DataFrame({"two": [0, 1, 0], "three": ["a", "b", "c"]})
    encoding = learn_encoding(y)
    unseen = pd.DataFrame({"two": [5, 1], "three": ["d", "a"]})
    np.testing.assert_array_equal(
        encoding.encode(unseen, strict=False), [[0, -1, -1, -1], [1, 1, -1, -1]]
    )
    with pytest.raises(ValueError, match="label 5 in 'two'"):
        encoding.encode(unseen)


def test_booleans_beside_numbers_stay_booleans():
    y = pd.DataFrame({"a": [True, False], "b": [0, 1]})
    decoded = learn_encoding(y).decode(np.array([[1.0, -1.0]]))
    assert decoded.tolist() == [[True, 0]]
    assert decoded[0, 0] is True or decoded[0, 0] is np.True_


def test_masked_entries_are_not_observed():
    y = np.ma.masked_array([[0, 1], [1, 0]], mask=[[False, True], [False, False]])
    np.testing.assert_array_equal(learn_encoding(y).encode(y), [[-1, 0], [1, -1]])


def test_levels_of_column_names_are_joined():
    columns = pd.MultiIndex.from_tuples([("liver", 1), ("heart", 2)])
    y = pd.DataFrame([[0, 1], [1, 0]], columns=columns)
    assert learn_encoding(y).outputs.tolist() == ["liver_1", "heart_2"]


def test_names_that_collide_after_one_vs_rest_are_refused():
    y = pd.DataFrame({"x": [0, 1, 2], "x=0": [0, 1, 0]})
    with pytest.raises(ValueError, match="same name"):
        learn_encoding(y)


def test_classes_may_be_given_for_a_batch_without_labels():
    encoding = learn_encoding([[None], [None]], classes=["a", "b"])
    np.testing.assert_array_equal(encoding.encode([["b"], [None]]), [[1], [0]])


@pytest.mark.parametrize(
    ("values", "known", "codes"),
    [
        ([3, 1, 2, 1], [1, 2, 3], [2, 0, 1, 0]),
        ([0, 4, 2], [1, 3], [-1, -1, -1]),
        ([True, False], [0, 1], [1, 0]),
        ([1.0, -1.0, 0.5], [-1, 1], [1, 0, -1]),
        (["b", "a", "bb", ""], ["a", "b"], [1, 0, -1, -1]),
        (["1", "2"], [1, 2], [-1, -1]),
        ([1, 2], ["1", "2"], [-1, -1]),
        ([-1, 255], np.array([0, 255], dtype=np.uint8), [-1, 1]),
        ([], [1, 2], []),
    ],
)
def test_codes_are_places_among_the_known_values(values, known, codes):
    found = find_codes(np.array(values), np.array(known))
    assert found.tolist() == codes


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([2, 0, 2], [0, 2]),
        ([1.5, 0.5, 1.5], [0.5, 1.5]),
        ([3.0, 1.0, 2.0], [1, 2, 3]),
        (["b", "c", "a", "b"], ["a", "b", "c"]),
        ([True, True, False], [False, True]),
        (np.array(["x", "y"], dtype=object), ["x", "y"]),
        (pd.Series([1, 0], dtype="boolean"), [False, True]),
    ],
)
def test_labels_of_rows_are_read_and_sorted(labels, classes):
    read = read_class_labels(labels)
    assert read.tolist() == list(labels)
    assert read.dtype.kind != "O"
    assert find_classes(read).tolist() == classes


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "requires y to be passed"),
        ([1, None, NAN, 0], r"NaN or None in 2 of 4 rows"),
        (pd.Series([1, pd.NA], dtype="Int64"), r"in 1 of 2 rows"),
        ([0, 1, -np.inf], "infinity"),
        (["a", 1], "mix strings and numbers"),
        (np.zeros((3, 2)), "1d array"),
        ([object(), object()], "should be numbers"),
    ],
)
def test_labels_that_are_not_one_per_row_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        read_class_labels(labels)


@pytest.mark.parametrize("ids", [["u", "v", "u"], [3, 1, 3], [True, False, True]])
def test_task_ids_are_read_as_they_are(ids):
    for form in (list, np.array, pd.Series, pl.Series):
        read = read_task_ids(form(ids))
        assert read.tolist() == ids
        assert read.dtype.kind != "O"


@pytest.fixture
def always_sparse(monkeypatch):
    monkeypatch.setattr(_signs, "MAX_DENSITY", 1)
    monkeypatch.setattr(_signs, "MIN_TASKS", 1)


def draw_labels(pool, shape, seed=0):
    """Labels of which some are missing, as an array of objects."""
    rng = np.random.default_rng(seed)
    labels = np.array(pool, dtype=object)[rng.integers(len(pool), size=shape)]
    labels[rng.random(shape) < 0.4] = None
    return labels


POOLS = {
    "two numbers": ([0, 1], [0, 1, 2]),
    "two strings": (["in", "active"], ["in", "active", "unclear"]),
    "many numbers": ([1, 2, 3, 4], [1, 2, 3, 4, 5]),
    "many strings": (["a", "b", "ccc"], ["a", "b", "ccc", "d"]),
    "a single one": ([1], [1, 0]),
}


@pytest.mark.parametrize(("pool", "wider"), POOLS.values(), ids=POOLS.keys())
@pytest.mark.parametrize("form", ["single", "wide", "long"])
@pytest.mark.usefixtures("always_sparse")
def test_sparse_signs_equal_dense_ones(pool, wider, form):
    shape = (40, 9) if form == "wide" else 40
    ids = np.random.default_rng(1).integers(7, size=40) if form == "long" else None
    y, unseen = draw_labels(pool, shape), draw_labels(wider, shape, seed=2)
    encoding = learn_encoding(y, ids)
    for labels, strict in ((y, True), (unseen, False)):
        dense = encoding.encode(labels, ids, strict)
        packed = encoding.encode(labels, ids, strict, sparse=True)
        assert isinstance(packed, csr_array)
        assert packed.dtype == np.int8
        assert packed.has_canonical_format
        assert (packed.data != 0).all()
        np.testing.assert_array_equal(packed.toarray(), dense)
    with pytest.raises(ValueError, match="whose labels in fit were"):
        encoding.encode(unseen, ids, sparse=True)


def test_the_long_form_of_many_classes_equals_the_wide_form():
    y = draw_labels(["a", "b", "ccc"], (30, 5))
    y[:, 2] = np.where(np.arange(30) % 2, "a", "b")
    rows, columns = np.nonzero(np.not_equal(y, None))
    wide, long = learn_encoding(y), learn_encoding(y[rows, columns], columns)
    assert wide.tasks_per_output.tolist() == long.tasks_per_output.tolist()
    signs = long.encode(y[rows, columns], columns)
    together = [signs[rows == row].sum(axis=0) for row in range(30)]
    np.testing.assert_array_equal(together, wide.encode(y))


def test_many_tasks_stay_small():
    n_samples, n_tasks = 100_000, 10_000
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=n_samples).astype(float)
    tasks = rng.permutation(np.arange(n_samples) % n_tasks)
    y[::10] = np.nan
    tracemalloc.start()
    signs = learn_encoding(y, tasks).encode(y, tasks, sparse=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60 * (n_samples + n_tasks)
    assert signs.shape == (n_samples, n_tasks)
    assert signs.nnz == 90_000
    rows = np.flatnonzero(y == y)
    np.testing.assert_array_equal(signs.indices, tasks[rows])
    np.testing.assert_array_equal(signs.data, 2 * y[rows] - 1)


def test_wide_labels_are_not_copied(tmp_path):
    y = np.random.default_rng(0).choice([0, 1, np.nan], (4000, 250)).astype(np.float64)
    np.save(tmp_path / "y.npy", y)
    for mapped in (y, np.load(tmp_path / "y.npy", mmap_mode="r")):
        tracemalloc.start()
        signs = learn_encoding(mapped).encode(mapped)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < signs.nbytes + 2 * _signs.BLOCK_BYTES < y.nbytes / 2
        np.testing.assert_array_equal(signs, np.nan_to_num(2 * y - 1))


@pytest.mark.parametrize("block_bytes", [1, 2**20])
def test_labels_are_checked_to_the_last(block_bytes, monkeypatch):
    monkeypatch.setattr(_signs, "BLOCK_BYTES", block_bytes)
    y = np.tile([[0.0, 1.0], [1.0, 0.0]], (20, 1))
    encoding = learn_encoding(y)
    for value, message in ((np.inf, "infinity"), (0.5, "label 0.5 in 'task1'")):
        bad = y.copy()
        bad[-1, -1] = value
        with pytest.raises(ValueError, match=message):
            encoding.encode(bad)
    with pytest.raises(ValueError, match="continuous"):
        learn_encoding(bad)
    bad[-1, -1] = 2
    assert learn_encoding(bad).n_tasks == 4
    signs = encoding.encode(bad, strict=False)
    np.testing.assert_array_equal(signs[:-1], encoding.encode(y)[:-1])
    assert signs[-1].tolist() == [1, 0]
    bad[-1, -1] = -np.inf
    with pytest.raises(ValueError, match="infinity"):
        encoding.encode(bad, strict=False)


def test_no_row_of_the_long_form_has_no_label():
    for pool in ([0, 1], [0, 1, 2], ["a", "b"]):
        encoding = learn_encoding(pool, ["t"] * len(pool))
        for sparse in (False, True):
            signs = encoding.encode([], [], sparse=sparse)
            assert signs.shape == (0, encoding.n_tasks)


def test_columns_may_not_come_twice():
    encoding = learn_encoding(ENCODINGS["pandas"])
    with pytest.raises(ValueError, match="columns of y differ"):
        encoding.encode(ENCODINGS["pandas"][["a", "b", "b"]])


def test_unusable_tasks_of_sparse_signs_are_named():
    names = np.array(["good", "flat", "empty"])
    signs = csr_array(np.array([[1, 1, 0], [-1, 1, 0]], dtype=np.int8))
    with pytest.warns(UserWarning, match=r"2 of 3 tasks.*'flat', 'empty'"):
        check_usable_tasks(*count_signs(signs), names, 2)
    with pytest.raises(ValueError, match=r"no usable task.* n_samples=2 rows"):
        check_usable_tasks(*count_signs(signs[:, 1:2]), names[1:2], 2)


@pytest.mark.parametrize(
    ("n_names", "n_rows", "is_told"), [(21, 41, True), (21, 42, False), (20, 20, False)]
)
def test_names_of_rows_among_labels_are_told(n_names, n_rows, is_told):
    names = [f"C{k % n_names}" for k in range(n_rows)]
    y = pd.DataFrame({"molecule": names, "assay": np.arange(n_rows) % 2})
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        encoding = learn_encoding(y)
        warn_of_names(encoding, encoding.count_places(read_labels(y, None)))
    assert len(told) == is_told
    if is_told:
        words = f"1 ('molecule'): {n_names} in {n_rows} rows"
        assert words in str(told[0].message)


def test_many_classes_of_a_few_inputs_are_no_names():
    """What counts is the labels of the task, not the rows of X."""
    y, rows = np.arange(4000) % 30, np.arange(4000) // 100
    tasks = np.zeros(4000, int)
    labels = read_labels(y, tasks, rows, n_samples=40)
    encoding = find_encoding(labels)
    with warnings.catch_warnings(action="error"):
        warn_of_names(encoding, encoding.count_places(labels))
