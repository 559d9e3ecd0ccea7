"""Bad input to estimators and tools: what is refused, in which words, at what cost.

Each entry of a table is a call that has to raise scikit-learn's kind of error, name the
argument and what came, and leave all fitted estimators as they were.
"""

import functools
import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from bad_input_cases import (
    INF,
    NAN,
    QUIET,
    N,
    X,
    Y,
    assert_untouched,
    content,
    conv,
    ids,
    refused,
    relu,
    untouched_models,
    y,
)
from scipy import sparse
from sklearn.exceptions import UndefinedMetricWarning

from mtrl_sklearn.metrics import (
    multitask_accuracy_score,
    multitask_roc_auc_score,
)
from mtrl_sklearn.model_selection import cross_val_predict
from mtrl_sklearn.probing import (
    LinearProbe,
    calibrate,
    label_agreement,
    probe_new_tasks,
    source_task_transfer,
    task_affinity,
)

pytestmark = QUIET
models = pytest.fixture(untouched_models)


# ---------------------------------------------------------------- X of any estimator

ESTIMATOR_CALLS = {
    "fit alternating": lambda m, X: m["alternating"].fit(X, Y[: n_rows(X)]),
    "fit joint": lambda m, X: m["joint"].fit(X, Y[: n_rows(X)]),
    "fit one_step": lambda m, X: m["one_step"].fit(X, Y[: n_rows(X)]),
    "partial_fit": lambda m, X: m["alternating"].partial_fit(X, Y[: n_rows(X)]),
    "transform": lambda m, X: m["alternating"].transform(X),
    "decision_function": lambda m, X: m["long"].decision_function(X),
    "predict": lambda m, X: m["single"].predict(X),
    "predict_proba": lambda m, X: m["one_step"].predict_proba(X),
    "score": lambda m, X: m["joint"].score(X, Y[: n_rows(X)]),
    "fit gd": lambda m, X: m["gd"].fit(X, y[: n_rows(X)]),
    "fit adam": lambda m, X: m["adam"].fit(X, y[: n_rows(X)]),
    "partial_fit gd": lambda m, X: m["gd"].partial_fit(X, y[: n_rows(X)]),
    "transform gd": lambda m, X: m["gd"].transform(X),
    "decision_function gd": lambda m, X: m["gd"].decision_function(X),
    "predict adam": lambda m, X: m["adam"].predict(X),
    "predict_proba adam": lambda m, X: m["adam"].predict_proba(X),
    "score adam": lambda m, X: m["adam"].score(X, y[: n_rows(X)]),
}
PROBE_CALLS = {
    "fit probe": lambda m, X: m["probe"].fit(X, y[: n_rows(X)]),
    "predict probe": lambda m, X: m["probe"].predict(X),
    "predict_proba probe": lambda m, X: m["conv probe"].predict_proba(X),
    "fit raw probe": lambda m, X: m["raw probe"].fit(X, y[: n_rows(X)]),
    "decision_function raw probe": lambda m, X: m["raw probe"].decision_function(X),
    "score raw probe": lambda m, X: m["raw probe"].score(X, y[: n_rows(X)]),
    "probe_new_tasks": lambda m, X: probe_new_tasks(
        m["alternating"], X, Y[: n_rows(X)], shots=4
    ),
    "source_task_transfer": lambda m, X: source_task_transfer(
        m["alternating"], X, Y[: n_rows(X)], shots=4
    ),
    "calibrate": lambda m, X: calibrate(m["gd"], X, y, tasks=ids, shots=4),
    "task_affinity": lambda m, X: task_affinity(m["alternating"], X),
}


def n_rows(X):
    shape = getattr(X, "shape", None)
    return shape[0] if shape else N


def with_entry(value, dtype=float):
    changed = X.astype(dtype)
    changed[3, 2] = value
    return changed


with warnings.catch_warnings(action="ignore"):  # numpy warns of matrices
    MATRIX = np.matrix(X)

BAD_X = {
    "NaN": (with_entry(NAN), r"X contains NaN"),
    "infinity": (with_entry(-INF), r"X contains infinity"),
    "overflow of float16": (with_entry(INF, np.float16), "X contains infinity"),
    "NaN as pandas.NA": (
        pd.DataFrame(with_entry(NAN)).convert_dtypes(),
        "X contains NaN",
    ),
    "null of polars": (
        pl.DataFrame(with_entry(None, object).tolist(), orient="row"),
        "X contains NaN",
    ),
    "nothing": (None, r"X is None\. Pass an array"),
    "one dimension": (X[:, 0], r"X\b.*(1D array|got shape|no feature|not contain)"),
    "a scalar": (
        3.5,
        r"X\b.*(scalar array|not contain)|sequence or array-like|1 dimension",
    ),
    "four dimensions": (X[:, :, None, None, None], r"X\b.*(\(\d+, 5, 1, 1, 1\)|dim 5)"),
    "no rows": (
        X[:0],
        r"X\b.*0 (sample|row)|minimum of 1|no (observed )?label|inconsist",
    ),
    "no columns": (X[:, :0], r"X\b.*0 feature"),
    "words": (np.full(X.shape, "a"), r"X: .*float: .*'a'.*OneHotEncoder.*Tfidf"),
    "documents": (
        np.full(X.shape, "word " * 99),
        r"X: .{,200} \[\.\.\.\]\. Encode text as numbers",
    ),
    "words in a frame": (
        pd.DataFrame(X).add_prefix("x").assign(word="a"),
        r"X: .*string to float.*|X has 6 features.*5 features",
    ),
    "objects": (with_entry(object(), object), r"X: .*not 'object'"),
    "integers beyond floats": (with_entry(10**400, object), r"X: int too large"),
    "ragged": ([[1.0, 2.0]] * 39 + [[1.0]], r"X\b.*(inhomogeneous|is expecting 5)"),
    "a dict": ({"a": [1]}, r"X is a dict\. Pass an array|inconsistent"),
    "complex": (X + 1j, "Complex data not supported"),
    "dates": ((100 * X).astype("M8[s]"), r"X holds times \(datetime64\[s\]\)"),
    "durations": (pd.DataFrame((9 * X).astype("m8[s]")), r"X holds times.*timedelta64"),
    "a matrix": (MATRIX, r"np.matrix is not supported"),
    "masked entries": (
        np.ma.masked_array(X, X > 1),
        rf"X is a masked array with {(X > 1).sum()} masked.*X\.filled",
    ),
    "same columns twice": (
        pd.DataFrame(X, columns=list("aabcd")),
        r"X\b.*(unique column names.*'a'|feature names)",
    ),
    "names of two types": (
        pd.DataFrame(X, columns=["a", 1, 2, 3, 4]),
        r"names are only supported if all input features have string names",
    ),
    "records": (np.zeros(N, dtype=[("a", float)]), r"X\b"),
    "sparse NaN": (sparse.csr_array(with_entry(NAN)), "X contains NaN|[Ss]parse"),
}

ROWS_CALLS = {**ESTIMATOR_CALLS, **PROBE_CALLS}
PREDICTIONS = ("transform", "decision_function", "predict")


@pytest.mark.parametrize("kind", BAD_X)
def test_bad_rows(models, kind):
    value, words = BAD_X[kind]
    for name, call in ROWS_CALLS.items():
        lenient = kind == "no rows" and name.startswith(PREDICTIONS)
        if not lenient and (value is not None or name != "task_affinity"):
            refused(lambda call=call: call(models, value), words, name)


OTHER_WIDTH = r"X has 4 features, but \w+ is expecting 5 features"


def test_another_number_of_features(models):
    for name, call in ROWS_CALLS.items():
        if name.startswith(("fit", "calibrate", "source_task_transfer")):
            continue
        refused(lambda call=call: call(models, X[:, :4]), OTHER_WIDTH, name)
        words = f"{OTHER_WIDTH}|X has 1 row|no observed"
        refused(lambda call=call: call(models, X[:1, :4]), words, name)


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia", "lil", "dok"])
def test_sparse_rows_where_arrays_are_wanted(models, form):
    value = sparse.csr_array(X).asformat(form)
    for name, call in ROWS_CALLS.items():
        is_conv = name in ("predict_proba probe", "calibrate")  # a network of images
        if is_conv or (name not in PROBE_CALLS and name.endswith(("gd", "adam"))):
            words = r"[Ss]parse.*(Use|Pass) X\.toarray\(\)"
            refused(lambda call=call: call(models, value), words, name)


# ------------------------------------------------------------------ names of columns

FRAME = pd.DataFrame(X, columns=list("abcde"))


@pytest.mark.parametrize("make", [relu, conv, LinearProbe], ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (FRAME[list("ebcda")], "feature names.*same order"),
        (FRAME[list("abcd")], "feature names.*- e"),
        (FRAME.rename(columns={"a": "z"}), "feature names.*- z.*- a"),
        (FRAME.assign(f=0.0), "feature names.*- f"),
    ],
    ids=["reordered", "one missing", "one renamed", "one more"],
)
def test_frames_unlike_that_of_fit(make, frame, words):
    model = make().fit(FRAME, y)
    before = content(model)
    refused(lambda: model.predict(frame), words)
    refused(lambda: model.score(frame, y), words)
    if hasattr(model, "partial_fit"):
        refused(lambda: model.transform(frame), words)
        refused(lambda: model.partial_fit(frame, y), words)
    assert_untouched(model, before)


# --------------------------------------------------------------------------- labels

WIDE_CALLS = {
    "fit": lambda m, Y: m["alternating"].fit(X, Y),
    "partial_fit": lambda m, Y: m["joint"].partial_fit(X, Y),
    "score": lambda m, Y: m["one_step"].score(X, Y),
    "calibrate": lambda m, Y: calibrate(m["joint"], X, Y, shots=4),
    "source_task_transfer": lambda m, Y: source_task_transfer(
        m["alternating"], X, Y, shots=4
    ),
    "probe_new_tasks": lambda m, Y: probe_new_tasks(m["joint"], X, Y, shots=4),
    "task_affinity": lambda m, Y: task_affinity(m["joint"], X, Y),
    "label_agreement": lambda m, Y: label_agreement(Y),
    "roc_auc": lambda m, Y: multitask_roc_auc_score(Y, np.zeros((N, 4))),
    "accuracy": lambda m, Y: multitask_accuracy_score(Y, np.zeros((N, 4))),
}
ROW_CALLS = {
    "fit gd": lambda m, y: m["gd"].fit(X, y),
    "fit adam": lambda m, y: m["adam"].fit(X, y, ids),
    "partial_fit": lambda m, y: m["gd"].partial_fit(X, y),
    "score": lambda m, y: m["per_task"].score(X, y, ids),
    "fit probe": lambda m, y: m["probe"].fit(X, y),
    "fit raw probe": lambda m, y: m["raw probe"].fit(X, y),
    "fit single": lambda m, y: m["single"].fit(X, y),
    "fit long": lambda m, y: m["long"].fit(X, y, ids),
}
OF_TYPE = "should be numbers, booleans or strings, got"
SHAPES = r"should be|one prediction|inconsistent|differ|at least 1 dim|Expected seq"


def mixed(shape):
    values = np.ones(shape, dtype=object)
    values.flat[0] = "a"
    return values


# Each made of the shape of labels.
BAD_LABELS = {
    "nothing": (lambda shape: None, r"y(_true)? |target y is None|y_true"),
    "infinity": (lambda shape: np.full(shape, INF), "y contains infinity"),
    "continuous": (
        lambda shape: np.random.default_rng(0).random(shape),
        "Unknown label type: continuous.*Threshold",
    ),
    "complex": (lambda shape: np.full(shape, 1j), "Complex data not supported"),
    "words and numbers": (mixed, "mix strings and numbers"),
    "objects": (lambda shape: np.full(shape, object()), f"{OF_TYPE} object objects"),
    "lists": (lambda shape: [[1], [1, 2]] * (N // 2), f"{OF_TYPE} list|{SHAPES}|form"),
    "lists of tags": (
        lambda shape: [["a"], ["a", "b"]] * (N // 2),
        rf"{OF_TYPE} list objects\. MultiLabelBinarizer|{SHAPES}|form",
    ),
    "dates": (
        lambda shape: np.arange(np.prod(shape)).reshape(shape).astype("M8[D]"),
        rf"{OF_TYPE} (datetime64\[D\]|date)",
    ),
    "durations": (
        lambda shape: np.arange(np.prod(shape)).reshape(shape).astype("m8[D]"),
        rf"{OF_TYPE} (timedelta64\[D\]|timedelta)",
    ),
    "bytes": (lambda shape: np.full(shape, b"a"), rf"{OF_TYPE} \|S"),
    "records": (
        lambda shape: np.zeros(shape, dtype=[("a", int)]),
        f"{OF_TYPE} (.'a'|tuple)|{SHAPES}",
    ),
    "integers beyond 64 bits": (
        lambda shape: np.full(shape, 10**30, dtype=object),
        f"{OF_TYPE} integers beyond 64 bits",
    ),
    "a scalar": (lambda shape: 1, SHAPES),
    "a string": (lambda shape: "yes", SHAPES),
    "three dimensions": (lambda shape: np.zeros((N, 2, 2)), SHAPES),
    "no columns": (lambda shape: np.zeros((N, 0)), SHAPES),
    "no rows": (
        lambda shape: np.zeros((0, *shape[1:])),
        f"{SHAPES}|no observed label",
    ),
    "one row less": (lambda shape: np.ones(shape)[:-1], f"{SHAPES}|0 class|1 class"),
    "a sparse matrix": (
        lambda shape: sparse.csr_array(np.arange(4 * N).reshape(N, 4)),
        "is sparse, and so an indicator|1d array|is sparse. With tasks",
    ),
}
LENIENT = {
    ("score", "continuous"),  # labels that fit did not see are left out, or wrong
    ("label_agreement", "one row less"),
    *(("task_affinity", kind) for kind in ("nothing", "no rows", "one row less")),
}


@pytest.mark.parametrize("kind", BAD_LABELS)
def test_bad_labels_of_many_tasks(models, kind):
    make, words = BAD_LABELS[kind]
    unseen = "|label .* in 'task0', whose labels in fit were"
    for name, call in WIDE_CALLS.items():
        if (name, kind) not in LENIENT:
            told = words + unseen * (name in ("partial_fit", "task_affinity"))
            refused(lambda call=call: call(models, make((N, 4))), told, name)


@pytest.mark.parametrize("kind", BAD_LABELS)
def test_bad_labels_of_rows(models, kind):
    make, words = BAD_LABELS[kind]
    for name, call in ROW_CALLS.items():
        if (name, kind) not in LENIENT:
            told = words + "|not among the classes" * (name == "partial_fit")
            refused(lambda call=call: call(models, make((N,))), told, name)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m["alternating"].fit(X, Y * NAN), "no observed label.*missing"),
        (lambda m: m["alternating"].fit(X, Y * 0), "no usable task.*4 tasks.*1 class"),
        (lambda m: m["one_step"].fit(X[:1], Y[:1]), "no usable task.*n_samples=1"),
        (lambda m: m["single"].fit(X, [None] * N), "no observed label"),
        (lambda m: m["long"].fit(X, y * NAN, ids), "no observed label"),
        (lambda m: m["gd"].fit(X, y * NAN), "NaN or None in 40 of 40 rows.*Drop"),
        (lambda m: m["gd"].fit(X, y * 0), r"y shows 1 class \(\[0.0\]\).*at least 2"),
        (lambda m: m["adam"].fit(X[:1], y[:1]), "y shows 1 class"),
        (lambda m: m["probe"].fit(X, y * NAN), "NaN or None in 40 of 40 rows"),
        (lambda m: m["probe"].fit(X, y * 0 + 2), "y shows 1 class.*classes="),
        (lambda m: m["probe"].fit(X[:1], ["a"]), "y shows 1 class.*classes="),
        (lambda m: m["probe"].fit(X[:0], y[:0]), "y holds no label.*classes="),
        (lambda m: m["probe"].fit(X, Y * NAN), "no observed label.*classes="),
        (lambda m: m["alternating"].partial_fit(X, Y + 3), "label 3.0 in 'task0'.*fit"),
        (lambda m: m["long"].partial_fit(X, y + 3, ids), "label 3.0 in '0'"),
        (lambda m: m["gd"].partial_fit(X, y + 3), "label 3.0.*classes of fit.*pass"),
        (lambda m: m["alternating"].partial_fit(X, y), "'single'.*'wide' form.*Pass"),
        (lambda m: m["alternating"].score(X, y, ids), "'long'.*'wide' form"),
        (lambda m: m["single"].score(X, Y), "'wide'.*'single' form"),
        (lambda m: m["long"].score(X, y), "'single'.*'long' form"),
        (lambda m: m["single"].partial_fit(X, y, ids), "'long'.*'single' form"),
        (lambda m: m["alternating"].score(X, Y[:, :3]), "columns of y differ.*got 3"),
        (lambda m: m["alternating"].partial_fit(X, Y[:, :3]), "columns of y differ"),
        (
            lambda m: m["alternating"].fit(X, pd.DataFrame(Y, columns=list("aabc"))),
            "distinct names.*'a', 'a'.*Rename",
        ),
        (
            lambda m: relu(warm_start=True).fit(X, Y).fit(X, Y[:, :2]),
            "columns of y differ",
        ),
    ],
)
def test_labels_that_do_not_fit(models, call, words):
    refused(lambda: call(models), words)


FIVE_LABELS = np.column_stack([Y, y])
CONV_COLUMNS = [
    (lambda m: m["columns"].fit(X, Y, ids), r"With tasks=, y should be a 1d array"),
    (lambda m: m["gd"].fit(X, Y), r"y should be a 1d array.*head='shared'.*per_task"),
    (lambda m: m["adam"].fit(X, Y), r"y should be a 1d array.*Set head='per_task'"),
    (lambda m: m["columns"].fit(X, Y * NAN), "y holds no observed label"),
    (lambda m: m["columns"].fit(X[1:], Y), "inconsistent numbers of samples"),
    (lambda m: m["columns"].partial_fit(X, Y[:, :3]), "columns of y differ.*got 3"),
    (lambda m: m["columns"].partial_fit(X, FIVE_LABELS), "differ.*LinearProbe"),
    (lambda m: m["columns"].partial_fit(X, Y + 3), "label 3.0"),
    (lambda m: m["columns"].score(X, Y[:, :3]), "columns of y differ"),
    (lambda m: m["columns"].score(X, y), "one label for each row, but fit had 4"),
    (lambda m: m["per_task"].partial_fit(X, Y), "y has 4 columns, but fit had one"),
    (
        lambda m: m["columns"].fit(X, pd.DataFrame(Y, columns=list("aabc"))),
        "columns of y need distinct names.*Rename",
    ),
]


@pytest.mark.parametrize(("call", "words"), CONV_COLUMNS)
def test_columns_of_labels_of_images_that_do_not_fit(models, call, words):
    refused(lambda: call(models), words)


IMAGES = np.zeros((N, 8, 8, 3))
AUGMENT = "augment=.*([Pp]ass|Set|set)|The 'augment' parameter"


@pytest.mark.parametrize(
    ("parameters", "images", "words"),
    [
        ({"augment": "turn"}, np.zeros((N, 1, 8, 8)), AUGMENT),
        ({"augment": ("flip", "turn")}, np.zeros((N, 1, 8, 8)), AUGMENT),
        ({"augment": 1}, np.zeros((N, 1, 8, 8)), AUGMENT),
        ({"augment": "flip", "solver": "gd"}, np.zeros((N, 1, 8, 8)), AUGMENT),
        ({"augment": "flip", "solver": "adam"}, X, AUGMENT),
        ({}, IMAGES, r"channels come last.*np\.moveaxis\(X, -1, 1\)"),
        ({}, np.zeros((N, 2, 2, 2, 2)), r"\(2, 2, 2, 2\)|shape \(40, 2, 2, 2, 2\)"),
    ],
)
def test_images_and_augmentation(parameters, images, words):
    model = conv(solver="adam").fit(X, y).set_params(**parameters)
    before = content(model)
    refused(lambda: model.fit(images, y), words)
    assert_untouched(model, before)


# ------------------------------------------------------ ids of tasks, weights, classes

TASK_CALLS = {
    "fit": lambda m, ids: m["long"].fit(X, y, ids),
    "partial_fit": lambda m, ids: m["long"].partial_fit(X, y, ids),
    "score": lambda m, ids: m["long"].score(X, y, ids),
    "fit gd": lambda m, ids: m["gd"].fit(X, y, ids),
    "partial_fit adam": lambda m, ids: m["adam"].partial_fit(X, y, ids),
    "predict": lambda m, ids: m["per_task"].predict(X, ids),
    "predict_proba": lambda m, ids: m["per_task"].predict_proba(X, ids),
    "decision_function": lambda m, ids: m["per_task"].decision_function(X, ids),
    "score gd": lambda m, ids: m["per_task"].score(X, y, ids),
    "predict with a shared head": lambda m, ids: m["gd"].predict(X, ids),
    "calibrate": lambda m, ids: calibrate(m["gd"], X, y, tasks=ids),
    "source_task_transfer": lambda m, ids: source_task_transfer(
        m["gd"], X, y, tasks=ids
    ),
}
BAD_IDS = {
    "one less": (ids[:-1], "inconsistent numbers of samples.*39"),
    "none": ([], r"inconsistent numbers of samples.*\b0"),
    "a scalar": (3, r"tasks should be a 1d array.*shape \(\)"),
    "a string": ("abc", r"tasks should be a 1d array.*shape \(\)"),
    "a column": (ids[:, None], r"tasks should be a 1d array.*\(40, 1\)"),
    "a frame": (pd.DataFrame({"t": ids}), r"tasks should be a 1d array.*\(40, 1\)"),
    "a sparse matrix": (sparse.csr_array(ids[:, None]), "tasks should be a 1d array"),
    "missing": (np.where(ids, NAN, 1), "tasks holds 20 missing ids.*Drop"),
    "None": (np.where(ids, None, "a"), "tasks holds 20 missing ids"),
    "infinity": (np.where(ids, INF, 1), "tasks contains infinity"),
    "words and numbers": (["a", 1] * 20, "ids of 'tasks' mix strings and numbers"),
    "objects": ([object()] * N, f"ids of 'tasks' {OF_TYPE} object"),
    "complex": (ids + 1j, "Complex data not supported.*ids of 'tasks'"),
    "dates": (ids.astype("M8[D]"), f"ids of 'tasks' {OF_TYPE} datetime64"),
    "masked": (np.ma.masked_array(ids, ids == 1), "tasks holds 20 missing ids"),
}


@pytest.mark.parametrize("kind", BAD_IDS)
def test_bad_ids_of_tasks(models, kind):
    value, words = BAD_IDS[kind]
    for name, call in TASK_CALLS.items():
        refused(lambda call=call: call(models, value), words, name)


def test_unknown_ids_of_tasks(models):
    for ids_ in (ids + 5, np.where(ids, "a", "b")):
        for method in ("predict", "predict_proba", "decision_function"):
            call = getattr(models["per_task"], method)
            refused(
                lambda ids=ids_, call=call: call(X, ids), r"without a head: 2.*0, 1"
            )
        refused(
            lambda ids=ids_: models["long"].partial_fit(X, y, ids),
            "task ids differ from those of fit: got 2",
        )
        with pytest.warns(UndefinedMetricWarning, match="No task shows"):
            assert np.isnan(models["long"].score(X, y, ids_))
    words = "head='per_task' needs tasks.*metadata routing.*set_score_request"
    refused(lambda: models["per_task"].predict(X), words)
    refused(
        lambda: models["gd"].partial_fit(X, y, np.where(ids, "a", "b")),
        "ids such as '[ab]', but the ids of fit",
    )


FEW = {"shots": 4, "n_draws": 1}
LONG_TOOLS = {
    "probe_new_tasks": lambda m, **k: probe_new_tasks(
        m["alternating"], X, y, tasks=ids, **FEW, **k
    ),
    "source_task_transfer": lambda m, **k: source_task_transfer(
        m["alternating"], X, y, tasks=ids, **FEW, **k
    ),
    "calibrate": lambda m, **k: calibrate(
        m["alternating"], X, y, tasks=ids, **FEW, **k
    ),
    "cross_val_predict": lambda m, **k: cross_val_predict(
        m["long"], X, y, tasks=ids, **k
    ),
    "fit probes": lambda m, **k: m["probe"].fit(X, y, tasks=ids, **k),
    "score probes": lambda m, **k: probes_of_tasks().score(X, y, tasks=ids, **k),
}


@functools.cache
def probes_of_tasks():
    return LinearProbe().fit(X, y, tasks=ids)


WEIGHT_CALLS = {
    "score": lambda m, w: m["alternating"].score(X, Y, sample_weight=w),
    "fit": lambda m, w: m["alternating"].fit(X, Y, sample_weight=w),
    "partial_fit long": lambda m, w: m["long"].partial_fit(X, y, ids, sample_weight=w),
    "fit relational": lambda m, w: m["long"].fit(
        X[:5], y, ids, rows=np.arange(N) % 5, sample_weight=w
    ),
    "fit gd": lambda m, w: m["gd"].fit(X, y, sample_weight=w),
    "fit adam": lambda m, w: m["adam"].fit(X, y, ids, w),
    "partial_fit": lambda m, w: m["gd"].partial_fit(X, y, sample_weight=w),
    "score gd": lambda m, w: m["gd"].score(X, y, sample_weight=w),
    "fit probe": lambda m, w: m["probe"].fit(X, y, w),
    "fit wide probe": lambda m, w: m["raw probe"].fit(X, Y, w),
} | {
    name: lambda m, w, call=call: call(m, sample_weight=w)
    for name, call in LONG_TOOLS.items()
}
BAD_WEIGHTS = {
    "negative": (np.where(ids, -1.0, 1.0), "Negative.*`sample_weight`"),
    "NaN": (np.where(ids, NAN, 1), "sample_weight contains NaN"),
    "infinity": (np.where(ids, INF, 1), "sample_weight contains infinity"),
    "zeros": (np.zeros(N), "at least one non-zero"),
    "one less": (np.ones(N - 1), r"sample_weight.shape == \(39,\), expected \(40,\)"),
    "a column": (np.ones((N, 1)), "Sample weights must be 1D array"),
    "complex": (np.ones(N) + 1j, "Complex data not supported"),
    "words": (["a"] * N, "string to float"),
    "objects": ([object()] * N, "not 'object'"),
    "negative scalar": (-1.0, "Negative"),
}


def test_weights_of_labels_are_sent_to_the_long_form(models):
    words = "sample_weight: Sample weights must be 1D .*long form.*NaN in y"
    refused(lambda: models["alternating"].fit(X, Y, sample_weight=Y), words)


@pytest.mark.parametrize("kind", BAD_WEIGHTS)
def test_bad_weights(models, kind):
    value, words = BAD_WEIGHTS[kind]
    for name, call in WEIGHT_CALLS.items():
        refused(lambda call=call: call(models, value), words, name)


@pytest.mark.parametrize("weight", [1e-16, 1e16, 1.7e308])
def test_weights_that_no_count_has(models, weight):
    shown = re.escape(f"{weight:.3g}")
    words = f"largest sample_weight is {shown}, .*Divide them by their mean"
    weights = np.full(N, weight)
    for name in ("fit", "partial_fit long", "fit relational"):
        refused(lambda name=name: WEIGHT_CALLS[name](models, weights), words, name)


def test_weights_of_tools_that_draw_labels_are_whole_numbers(models):
    weights = np.where(ids, 0.5, 1)
    words = r"sample_weight holds 0.5.*labels are drawn.*rint"
    for name in ("probe_new_tasks", "source_task_transfer", "calibrate"):
        call = LONG_TOOLS[name]
        refused(lambda call=call: call(models, sample_weight=weights), words, name)


ROWS_OF_LABELS = {
    name: lambda m, rows, call=call: call(m, rows=rows)
    for name, call in LONG_TOOLS.items()
} | {
    "fit": lambda m, rows: m["long"].fit(X, y, ids, rows=rows),
    "partial_fit": lambda m, rows: m["long"].partial_fit(X, y, ids, rows=rows),
    "score": lambda m, rows: m["long"].score(X, y, ids, rows=rows),
    "weighted": lambda m, rows: m["long"].fit(X, y, ids, rows=rows, sample_weight=ids),
}
BAD_ROWS_OF_LABELS = {
    "negative": (np.arange(N) - 5, r"rows holds -\d+, but X has 40 rows"),
    "past the end": (np.arange(N) + 5, r"rows holds 4\d, but X has 40 rows"),
    "one less": (np.arange(N - 1), r"rows has (shape \(39,\)|39 entries).*40"),
    "two axes": (np.zeros((N, 2), int), r"rows has shape \(\d+, 2\)"),
    "floats": (np.arange(N) / 2, "rows holds float64, not integers"),
    "booleans": (np.ones(N, bool), "rows holds bool, not integers"),
    "words": (np.full(N, "a"), "rows holds <U1, not .*get_indexer"),
    "missing": ([0, None] * (N // 2), "rows holds object, not integers"),
    "whole floats": (np.arange(N) * 1.0, "rows holds float64, not integers"),
    "listed floats": ([1.0] * N, "rows holds object, not integers"),
    "listed booleans": ([True] * N, "rows holds object, not integers"),
    "listed, negative": ([-1] * N, "rows holds -1, but X has 40 rows"),
    "beyond 64 bits": ([2**70] * N, "rows holds 1180591620717411303424, but X has"),
    "none": ([], r"rows has (shape \(0,\)|0 entries).*40"),
}


@pytest.mark.parametrize("kind", BAD_ROWS_OF_LABELS)
def test_bad_rows_of_labels(models, kind):
    value, words = BAD_ROWS_OF_LABELS[kind]
    for name, call in ROWS_OF_LABELS.items():
        refused(lambda call=call: call(models, value), words, name)


def test_forgotten_rows_of_labels(models):
    words = r"inconsistent numbers of samples.*20 rows.*40 entries.*or pass rows="
    weights = np.arange(N) % 3
    for method in ("fit", "partial_fit", "score"):
        call = getattr(models["long"], method)
        refused(lambda call=call: call(X[:20], y, ids), words, method)
        refused(
            lambda call=call: call(X[:20], y, ids, sample_weight=weights), words, method
        )
    refused(lambda: models["long"].score(X[:20], y, ids + 7), words, "other tasks")


def test_no_labels_of_rows(models):
    for rows in ([], (), np.array([], int), pd.Series([])):
        for call in (models["long"].fit, relu().partial_fit):
            refused(
                lambda call=call, rows=rows: call(X, [], [], rows=rows), "no observed"
            )
        with pytest.warns(UndefinedMetricWarning, match="No task shows"):
            assert np.isnan(models["long"].score(X, [], [], rows=rows))


def test_rows_of_labels_without_tasks(models):
    for method in ("fit", "partial_fit", "score"):
        call = getattr(models["single"], method)
        refused(lambda call=call: call(X, y, rows=np.arange(N)), "rows= says.*tasks=")
    for tool in (calibrate, source_task_transfer, probe_new_tasks, cross_val_predict):
        call = functools.partial(tool, models["alternating"], X, y, rows=np.arange(N))
        refused(call, "rows= says.*tasks=", tool.__name__)
    refused(lambda: models["probe"].fit(X, y, rows=np.arange(N)), "rows= says.*tasks=")


CLASS_CALLS = {
    "wide": lambda classes: relu().partial_fit(X, Y, classes=classes),
    "long": lambda classes: relu().partial_fit(X, y, ids, classes=classes),
    "conv": lambda classes: conv().partial_fit(X, y, classes=classes),
}
BAD_CLASSES = {
    "none": ([], r"shows 0 class \(\[\]\)"),
    "a single one": ([1], r"shows 1 class \(\[1\]\).*at least 2"),
    "missing": ([0, None], "contains NaN or None in 1 of 2"),
    "infinity": ([0, INF], "contains infinity"),
    "words and numbers": (["a", 1], "mix strings and numbers"),
    "objects": ([object()] * 2, OF_TYPE),
    "two dimensions": ([[0, 1]], r"should be a 1d array.*\(1, 2\)"),
    "a string": ("ab", "should be a 1d array"),
    "continuous": ([0.1, 0.2, 0.3], "continuous"),
    "without those of y": ([7, 8], "label [01].0.*(7, 8)"),
    "strings for numbers": (["0", "1"], "label [01].0"),
    "dates": (np.array([0, 1], "M8[D]"), f"{OF_TYPE} datetime64"),
}


@pytest.mark.parametrize("kind", BAD_CLASSES)
def test_bad_classes_of_a_first_batch(kind):
    value, words = BAD_CLASSES[kind]
    for name, call in CLASS_CALLS.items():
        refused(lambda call=call: call(value), words, name)


@pytest.mark.parametrize("name", ["alternating", "single", "long", "gd"])
def test_other_classes_in_a_later_batch(models, name):
    labels = (Y,) if name == "alternating" else (y, ids) if name == "long" else (y,)
    for classes in ([0, 1, 2], ["0", "1"], [None, 1]):
        refused(
            lambda c=classes: models[name].partial_fit(X, *labels, classes=c),
            "classes(=.*differ from those of the first| contains NaN)",
        )


# ------------------------------------------------------------------- labels that warn


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (np.where(X[:, :4] > 1, -1, Y), "-1 or 0"),
        (np.where(X[:, :4] > 1, 0, 2 * Y - 1), "-1 or 0"),
        (np.where(X[:, :4] > 1, -999, Y), "-999"),
        (np.where(X[:, 0] > 1, -1, y), "-1 or 0"),
        (np.where(X[:, :4] > 1, "nan", np.where(Y > 0, "yes", "no")), "'nan'"),
        (np.where(X[:, :4] > 1, "", np.where(Y > 0, "yes", "no")), "''"),
        (np.where(X[:, :4] > 0, "None", "yes"), "'None'"),
    ],
)
def test_labels_that_may_be_meant_as_missing_are_told(models, labels, told):
    for call in (
        lambda: relu().fit(X, labels),
        lambda: relu().partial_fit(X, labels),
        lambda: probe_new_tasks(models["joint"], X, labels, shots=4),
    ):
        with pytest.warns(UserWarning, match=f"y holds {told}, read as a class.*NaN"):
            call()


@pytest.mark.parametrize(
    "labels",
    [
        *(
            Y,
            2 * Y - 1,
            Y > 0,
            Y + ids[:, None],
            -Y,
            3 * Y,
            np.where(X > 1, NAN, 1 * (X > 0)),
        ),
        np.array(["low", "middle", "high"])[np.arange(N) % 3],
        np.array([-1, 0, 1, 2])[np.arange(N) % 4],
    ],
)
def test_usual_labels_are_read_without_a_warning(labels):
    relu().fit(X, labels)


def test_labels_beside_classes_given_are_meant():
    three = np.where(X[:, 0] > 1, -1, y)
    relu().partial_fit(X, three, classes=[-1, 0, 1])
