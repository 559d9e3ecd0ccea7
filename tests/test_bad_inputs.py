"""Bad input to every public function: what is refused, in which words, at what cost.

Each entry of a table is a call that has to raise scikit-learn's kind of error, name the
argument and what came, and leave all fitted estimators as they were.
"""

import inspect
import pickle
import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtrl_sklearn import ConvMultiTaskClassifier, MultiTaskReLURepresentation
from mtrl_sklearn.datasets import (
    make_corrupted_digits,
    make_digit_tasks,
    make_patch_tasks,
    make_subspace_tasks,
)
from mtrl_sklearn.metrics import (
    feature_alignment,
    masked_roc_auc,
    multitask_accuracy_score,
    multitask_roc_auc_score,
    principal_angles,
    signal_to_noise,
    subspace_distance,
)
from mtrl_sklearn.plotting import (
    FilterDisplay,
    LossCurveDisplay,
    SpectrumDisplay,
    SubspaceRecoveryDisplay,
    TaskAffinityDisplay,
    TransferCurveDisplay,
)
from mtrl_sklearn.probing import (
    LinearProbe,
    ProbeSettings,
    calibrate,
    label_agreement,
    probe_new_tasks,
    source_task_transfer,
    task_affinity,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:A column-vector"),
    pytest.mark.filterwarnings("ignore:X (has|does not have) (valid )?feature names"),
]

N = 40
NAN, INF = np.nan, np.inf
RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, 5))
Y = (X @ RNG.standard_normal((5, 4)) > 0).astype(float)
y, ids = Y[:, 0], np.arange(N) % 2


def relu(**parameters):
    defaults = {"n_hidden": 4, "max_iter": 2, "random_state": 0}
    return MultiTaskReLURepresentation(**{**defaults, **parameters})


def conv(**parameters):
    defaults = {"n_filters": 4, "max_iter": 2, "random_state": 0}
    return ConvMultiTaskClassifier(**{**defaults, **parameters})


@pytest.fixture(scope="module")
def fitted():
    """Fitted estimators of all kinds, pickled."""
    models = {
        "alternating": relu().fit(X, Y),
        "joint": relu(algorithm="joint").fit(X, Y),
        "one_step": relu(algorithm="one_step").fit(X, Y),
        "single": relu().fit(X, y),
        "long": relu().fit(X, y, ids),
        "gd": conv(solver="gd").fit(X, y, ids),
        "adam": conv(solver="adam").fit(X, y, ids),
        "per_task": conv(head="per_task").fit(X, y, ids),
        "raw probe": LinearProbe().fit(X, y),
    }
    models["probe"] = LinearProbe(models["alternating"]).fit(X, y)
    models["conv probe"] = LinearProbe(models["gd"]).fit(X, y)
    return pickle.dumps(models)


@pytest.fixture
def models(fitted):
    """Fitted estimators, which have to be as they were after the test."""
    models = pickle.loads(fitted)
    before = {name: content(model) for name, model in models.items()}
    yield models
    for name, model in models.items():
        assert_untouched(model, before[name], name)


def content(model):
    """Attributes of a model, and their bytes."""
    return {name: (value, pickle.dumps(value)) for name, value in vars(model).items()}


def assert_untouched(model, before, name="model"):
    after = vars(model)
    assert after.keys() == before.keys(), name
    for key, (value, stored) in before.items():
        assert after[key] is value, (name, key)
        assert pickle.dumps(value) == stored, (name, key)


def refused(call, words, what=""):
    """The call raises an error of scikit-learn's kind, with these words."""
    with pytest.raises((ValueError, TypeError)) as raised:
        pytest.fail(f"{what}: {call()!r} instead of an error with {words!r}")
    told = str(raised.value)
    assert re.search(words, told, re.DOTALL), (what, words, told[:500])


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
    "no rows": (X[:0], r"X\b.*0 (sample|row)|minimum of 1|no observed label|inconsist"),
    "no columns": (X[:, :0], r"X\b.*0 feature"),
    "words": (np.full(X.shape, "a"), r"X: .*string to float.*OneHotEncoder"),
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
    "a matrix": (np.matrix(X), r"np.matrix is not supported"),
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
    "sparse NaN": (sparse.csr_array(with_entry(NAN)), "X contains NaN|Sparse data"),
}

ROWS_CALLS = {**ESTIMATOR_CALLS, **PROBE_CALLS}


@pytest.mark.parametrize("kind", BAD_X)
def test_bad_rows(models, kind):
    value, words = BAD_X[kind]
    for name, call in ROWS_CALLS.items():
        if value is not None or name != "task_affinity":
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
        if name in PROBE_CALLS or name.endswith(("gd", "adam")):
            words = r"[Ss]parse.*X.*Use|X is a sparse matrix.*X\.toarray\(\)"
            if name != "task_affinity":
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
        lambda shape: sparse.csr_array(np.ones((N, 4))),
        "sparse|should be a dense array|1d array",
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
        (lambda m: m["probe"].fit(X, y * 0), "y shows 1 class.*Add rows"),
        (lambda m: m["probe"].fit(X[:1], y[:1]), "y shows 1 class"),
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
        assert np.isnan(models["long"].score(X, y, ids_))
    refused(lambda: models["per_task"].predict(X), "head='per_task' needs tasks")
    refused(
        lambda: models["gd"].partial_fit(X, y, np.where(ids, "a", "b")),
        "ids such as '[ab]', but the ids of fit",
    )


WEIGHT_CALLS = {
    "score": lambda m, w: m["alternating"].score(X, Y, sample_weight=w),
    "fit gd": lambda m, w: m["gd"].fit(X, y, sample_weight=w),
    "fit adam": lambda m, w: m["adam"].fit(X, y, ids, w),
    "partial_fit": lambda m, w: m["gd"].partial_fit(X, y, sample_weight=w),
    "score gd": lambda m, w: m["gd"].score(X, y, sample_weight=w),
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


@pytest.mark.parametrize("kind", BAD_WEIGHTS)
def test_bad_weights(models, kind):
    value, words = BAD_WEIGHTS[kind]
    for name, call in WEIGHT_CALLS.items():
        refused(lambda call=call: call(models, value), words, name)


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


# ------------------------------------------------------------------------- parameters

COUNT = [0, -1, 1.5, NAN, INF, "ten", None, [], object()]
OR_NONE = [value for value in COUNT if value is not None]
POSITIVE = [0, -1.0, NAN, INF, -INF, "high", None, [1.0], 1j]
NOT_NEGATIVE = [-1.0, NAN, INF, "high", None, [1.0]]
SHARE = [0.0, 1.0, -0.5, 1.5, NAN, "half", None]
CHOICE = ["else", "", None, 1, ["auto"], object()]
FLAG = ["yes", None, 2, 1.0, []]
SEED = [-1, 1.5, "now", [1], np.random.default_rng(0)]
# Values that no parameter of the name may have, in any class or function.
SHARED = {
    **dict.fromkeys(["tol", "weight_decay"], NOT_NEGATIVE),
    **dict.fromkeys(["max_iter", "batch_size", "n_iter_no_change"], COUNT),
    **dict.fromkeys(["early_stopping", "warm_start", "verbose"], FLAG),
    **dict.fromkeys(["task_weight", "precision"], CHOICE),
    "learning_rate": POSITIVE,
    "validation_fraction": SHARE,
    "callbacks": ["progress", 1, {}, object()],
    "checkpoint": [1, 1.5, ["a"], object()],
    "device": ["abacus", "", None, 1, ["cpu"]],
    "random_state": SEED,
}
PARAMETERS = {
    MultiTaskReLURepresentation: SHARED
    | {
        "n_hidden": COUNT,
        "n_components": [*OR_NONE, 5, 10**6],  # at most 4 hidden units
        "algorithm": CHOICE,
        "loss": CHOICE,
        "head_steps": COUNT,
        "dropout": [1.0, -0.5, NAN, "half", None],
        "output": CHOICE,
    },
    ConvMultiTaskClassifier: SHARED
    | {
        "n_filters": COUNT,
        "input_shape": [
            "square",
            5,
            (4,),
            (0, 5),
            (-1, -5),
            (1.0, 5),
            (1, 1, 1, 5),
            (),
        ],
        "kernel_size": [*COUNT, 6, (6,), (1, 1), (0,), (1.5,), ()],
        "stride": [*OR_NONE, (1, 1), (0,), (1.5,), ()],
        "power": [0, 0.5, NAN, INF, "high", None],
        "pooling": [*COUNT, 9, (9,), (1, 1), (0,), "max"],
        "head": CHOICE,
        "solver": CHOICE,
        "init_scale": POSITIVE,
        "class_weight": [
            *("equal", 1, [1, 2], {7: 1}, {0: -1}, {0: NAN}, {0: "a"}),
            *({0: None}, {"0": 1}, {0: 0, 1: 0}),
        ],
    },
    LinearProbe: {
        "representation": [
            "relu",
            1,
            LogisticRegression(),
            MultiTaskReLURepresentation,
        ],
        "settings": [{}, "auto", 1],
        "weights": [
            *("equal", None, {}, {"hidden": -1}, {"hidden": NAN}, {"pixels": 1}),
            *({"hidden": "a"}, {"inputs": 0}, [1, 1, 1]),
        ],
        "C": POSITIVE,
        "fine_tune": FLAG,
    },
}


def names_of(table):
    return [
        pytest.param(owner, name, id=f"{owner.__name__}-{name}")
        for owner, values in table.items()
        for name in values
    ]


@pytest.mark.parametrize("owner", PARAMETERS, ids=lambda owner: owner.__name__)
def test_all_parameters_have_bad_values(owner):
    assert set(PARAMETERS[owner]) == set(owner().get_params())


@pytest.mark.parametrize(("owner", "name"), names_of(PARAMETERS))
def test_bad_parameters_of_estimators(owner, name):
    small = {"n_hidden": 4, "n_filters": 4, "max_iter": 1}
    small = {k: v for k, v in small.items() if k in owner().get_params()}
    words = rf"\b{name}\b" + "|instance" * (name == "representation")
    for value in PARAMETERS[owner][name]:
        model = owner(**small | {name: value})
        refused(lambda model=model: model.fit(X, y), words, value)
        if hasattr(model, "partial_fit"):
            refused(lambda model=model: model.partial_fit(X, y), words, value)
        assert not [key for key in vars(model) if key.endswith("_")]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"callbacks": [object()]}, "callbacks.*object"),
        ({"callbacks": ["progress"]}, "callbacks.*'progress'"),
        ({"checkpoint": ""}, "checkpoint="),
    ],
)
@pytest.mark.parametrize("make", [relu, conv])
def test_bad_parts_of_parameters(make, parameters, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(lambda: make(**parameters).fit(X, y), words)


@pytest.mark.parametrize("make", [relu, conv])
def test_a_fit_that_goes_on_keeps_its_width(make):
    model = make(warm_start=True).fit(X, y)
    width = "n_hidden" if make is relu else "n_filters"
    before = content(model.set_params(**{width: 6}))
    refused(lambda: model.fit(X, y), f"{width}=6 differs from the fit to continue")
    refused(lambda: model.partial_fit(X, y), f"{width}=6 differs")
    assert_untouched(model, before)


def test_parameters_of_a_representation_are_not_those_of_a_probe(models):
    probe = models["probe"]
    refused(lambda: probe.set_params(representation__n_hidden=3), "shares and never")
    refused(lambda: probe.set_params(gamma=3), "Invalid parameter 'gamma'")
    refused(lambda: relu().set_params(gamma=3), "Invalid parameter 'gamma'")


SHOTS = [1, 0, -4, (), (4, 1), 4.5, "four", None, [None], NAN]
FEW = {"shots": 4, "n_draws": 1}
OF_TASKS = {
    "n_groups": [*COUNT, 1],
    "groups_of_tasks": [
        "ab",
        1,
        [],
        [0],
        [0, 0, 0, 0],
        [[0, 9]],
        [[]],
        [["zebra"], [1]],
    ],
    "tasks": [3, "abc", ids[:-1], [None] * N],
}
OF_PROBES = {
    "shots": SHOTS,
    "n_draws": COUNT,
    "n_jobs": ["two", 1.5, []],
    "random_state": SEED,
    "verbose": FLAG,
}
COMPARED = OF_PROBES | {
    "test_size": SHARE,
    "scoring": ["speed", None, 1],
    "probe": ["logistic", 1, object(), make_pipeline(StandardScaler(), LinearProbe(1))],
    "baselines": ["pca", ("raw", "pca"), 1, NAN, object()],
    "groups": [3, "abc", ids[:-1], ids[:, None], [None] * N],
}
UNFIT = ["relu", 1, None, LogisticRegression(), MultiTaskReLURepresentation, object()]
FUNCTIONS = {
    probe_new_tasks: COMPARED
    | {
        "representation": [*UNFIT, relu(), conv()],
        "test_rows": [
            *(3, [N], [-1], [0.5], "abc", range(N), [], [[0, 1]]),
            *(np.zeros(N, bool), np.ones(N - 1, bool)),
        ],
    },
    source_task_transfer: COMPARED | OF_TASKS | {"estimator": UNFIT},
    calibrate: OF_PROBES | OF_TASKS | {"representation": UNFIT},
}


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_all_parameters_of_functions_have_bad_values(function):
    tested = set(FUNCTIONS[function]) | {"X", "Y"}
    assert tested == set(inspect.signature(function).parameters)


@pytest.mark.parametrize(("function", "name"), names_of(FUNCTIONS))
def test_bad_parameters_of_functions(models, function, name):
    learner = next(iter(inspect.signature(function).parameters))
    more = {"representation": "not fitted|instance", "estimator": "instance"}
    more |= {"scoring": "speed", "tasks": "inconsistent|1 task"}
    words = rf"\b{name}\b|{more.get(name, name)}"
    for value in FUNCTIONS[function][name]:
        given = {learner: models["joint"], **FEW, name: value}
        refused(lambda given=given: function(X=X, Y=Y, **given), words, value)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: calibrate(m["gd"], X, Y, shots=4), "1d array|belong to one task"),
        (lambda m: calibrate(relu(), X, y, shots=4), "Y holds 1 task.*at least 2"),
        (
            lambda m: calibrate(relu(), X, Y, shots=999),
            "enough labels.*smaller numbers",
        ),
        (lambda m: source_task_transfer(relu(), X, y), "Y holds 1 task"),
        (
            lambda m: source_task_transfer(relu(), X[:2], Y[:2], test_size=0.9),
            "test_size=0.9 of 2 rows leaves no rows",
        ),
        (
            lambda m: probe_new_tasks(m["joint"], X, Y, test_rows=[0, 1], groups=ids),
            "groups have rows among test_rows",
        ),
        (
            lambda m: probe_new_tasks(m["joint"], X, Y, probe=m["probe"]),
            "probe=LinearProbe holds a representation",
        ),
        (lambda m: task_affinity(None), "representation should be .*got None"),
        (lambda m: task_affinity(relu()), "not fitted"),
        (lambda m: task_affinity(m["probe"]), "representation should be"),
        (lambda m: task_affinity(StandardScaler().fit(X)), "got StandardScaler"),
        (lambda m: task_affinity(m["gd"], X), "head='shared'.*head='per_task'"),
        (lambda m: task_affinity(m["per_task"]), "needs X"),
        (lambda m: task_affinity(m["per_task"], X, y), "Pass Y=None"),
        (lambda m: task_affinity(m["joint"], X[:1]), "X has 1 row"),
        (lambda m: task_affinity(m["joint"], X, Y[:, :2]), "columns of y differ"),
        (lambda m: LinearProbe(fine_tune=True).fit(X, y), "fine_tune=True needs"),
        (
            lambda m: LinearProbe(StandardScaler().fit(X), fine_tune=True).fit(X, y),
            "fine_tune=True needs a Multi.*got StandardScaler",
        ),
        (lambda m: LinearProbe(relu()).fit(X, y), "not fitted"),
        (lambda m: ProbeSettings((), (), ()), "same length, got 0"),
        (lambda m: ProbeSettings((4,), ((1, 1, 1),), (1, 2)), "length, got 1, 1 and 2"),
        (lambda m: ProbeSettings((4, 2), ((1, 1, 1),) * 2, (1, 2)), "ascending"),
        (lambda m: ProbeSettings((4,), ((1, 1),), (1,)), "weights=.*each of"),
        (lambda m: ProbeSettings((4,), ((1, -1, 1),), (1,)), "weights=.*at least 0"),
        (lambda m: ProbeSettings((4,), ((1, 1, 1),), (0,)), "C=.*positive"),
    ],
)
def test_calls_that_make_no_sense(models, call, words):
    refused(lambda: call(models), words)


METHODS = {
    relu: ["transform", "predict", "predict_proba", "decision_function"],
    conv: ["transform", "predict", "predict_proba", "decision_function"],
    LinearProbe: ["predict", "predict_proba", "decision_function"],
}


@pytest.mark.parametrize(
    ("make", "method"),
    [(make, m) for make, several in METHODS.items() for m in several],
)
def test_nothing_is_predicted_before_fit(make, method):
    with pytest.raises(NotFittedError, match="not fitted"):
        getattr(make(), method)(X)
    with pytest.raises(NotFittedError, match="not fitted"):
        make().score(X, y)


# ------------------------------------------------------- metrics, data sets, displays

A = X[:2]
BAD_ROWS = {
    "nothing": (None, "{} is None"),
    "NaN": (A * NAN, "{} contains NaN"),
    "infinity": (np.full(A.shape, INF), "{} contains infinity"),
    "words": (np.full(A.shape, "a"), "{}: .*string"),
    "objects": (np.full(A.shape, object()), "{}: .*not 'object'"),
    "ragged": ([[1.0], [1.0, 2.0]], "{}: .*inhomogeneous"),
    "masked": (np.ma.masked_array(A, A > 0), "{} is a masked array"),
    "dates": (A.astype("M8[s]"), "{} holds times"),
    "sparse": (sparse.csr_array(A), "{}, but dense data is required"),
    "complex": (A + 1j, "Complex data not supported"),
    "no rows": (A[:0], "{}: .*0 sample"),
    "a scalar": (3.0, "{}: "),
}
ROWS_OF = {
    "A": [
        lambda rows: principal_angles(rows, A),
        lambda rows: subspace_distance(rows, A),
    ],
    "B": [
        lambda rows: principal_angles(A, rows),
        lambda rows: subspace_distance(A, rows),
    ],
    "filters": [
        lambda rows: feature_alignment(rows, A),
        lambda rows: FilterDisplay(rows, kind="patch"),
    ],
    "directions": [lambda rows: feature_alignment(A, rows)],
    "y_score": [lambda rows: multitask_roc_auc_score(Y[:2], rows)],
    "signs": [lambda rows: masked_roc_auc(rows, A)],
    "X": [make_subspace_tasks(4, 5, n_tasks=2, random_state=0).problem.label],
    "singular_values": [lambda rows: SpectrumDisplay(rows, 1)],
    "loss_curve": [LossCurveDisplay],
    "validation_scores": [
        lambda rows: LossCurveDisplay([1, 2], validation_scores=rows)
    ],
    "affinity": [TaskAffinityDisplay, TaskAffinityDisplay.from_predictions],
    "x": [lambda rows: SubspaceRecoveryDisplay(rows, [0.1, 0.2])],
    "distances": [lambda rows: SubspaceRecoveryDisplay([1, 2], rows)],
    "shots": [lambda rows: TransferCurveDisplay(rows, {"raw": [0.1, 0.2]})],
    "scores['raw']": [lambda rows: TransferCurveDisplay([1, 2], {"raw": rows})],
}
MAY_BE_NONE = {"validation_scores"}
MAY_BE_NAN = {"distances", "scores['raw']", "affinity"}


@pytest.mark.parametrize("name", ROWS_OF)
def test_arrays_of_numbers_are_named(name):
    for kind, (value, words) in BAD_ROWS.items():
        if (name in MAY_BE_NONE and value is None) or (
            name in MAY_BE_NAN and kind in ("NaN", "infinity")
        ):
            continue
        for call in ROWS_OF[name]:
            told = words.format(re.escape(name))
            refused(lambda call=call: call(value), told, kind)  # noqa: B023


COUNTED = [0, -1, 1.5, NAN, "ten", None]
DATA_SETS = {
    make_subspace_tasks: {
        **dict.fromkeys(["n_samples", "n_features", "n_tasks"], COUNTED),
        "n_components": [*COUNTED, 17, 6],
        "kind": CHOICE,
        "missing_fraction": [-0.1, 1.0, NAN, "half", None],
        "random_state": SEED,
    },
    make_patch_tasks: {
        "n_samples_per_task": COUNTED,
        "n_tasks": [*COUNTED, 50],
        "n_features": COUNTED,
        "n_patches": COUNTED,
        "shared_fraction": [-0.1, 1.1, NAN, "half", None],
        "shared_strength": POSITIVE,
        "noise_norm": POSITIVE,
        "kind": CHOICE,
        "random_state": SEED,
    },
    make_digit_tasks: {
        "n_tasks": [*COUNTED, 127],
        "n_new_tasks": [-1, 1.5, "ten", None, 126],
        "missing_fraction": [-0.1, 1.0, NAN, None],
        "random_state": SEED,
    },
    make_corrupted_digits: {
        "n_samples_per_task": [*COUNTED, 360],
        "random_state": SEED,
    },
    signal_to_noise: {
        **dict.fromkeys(["n_samples_per_task", "n_tasks"], COUNTED),
        "shared_fraction": [-0.1, 1.1, NAN, None],
        "shared_strength": POSITIVE,
        "noise_norm": POSITIVE,
        "power": [0, 0.5, NAN, INF, None],
    },
}
SIZES = {
    make_subspace_tasks: {"n_samples": 4, "n_features": 5, "n_tasks": 2},
    make_patch_tasks: {"n_samples_per_task": 4, "n_tasks": 2, "n_features": 9},
    make_digit_tasks: {"n_tasks": 2, "n_new_tasks": 1},
    make_corrupted_digits: {"n_samples_per_task": 2},
    signal_to_noise: {"n_samples_per_task": 4},
}


@pytest.mark.parametrize("function", DATA_SETS, ids=lambda f: f.__name__)
def test_all_parameters_of_data_sets_have_bad_values(function):
    assert set(DATA_SETS[function]) == set(inspect.signature(function).parameters)


@pytest.mark.parametrize(("function", "name"), names_of(DATA_SETS))
def test_bad_parameters_of_data_sets(function, name):
    for value in DATA_SETS[function][name]:
        given = SIZES[function] | {name: value}
        refused(lambda given=given: function(**given), rf"\b{name}\b", value)


SUBSPACES = make_subspace_tasks(4, 5, n_components=2, n_tasks=2, random_state=0).problem
PATCHES = make_patch_tasks(4, 2, n_features=9, random_state=0).problem
SIGNS = np.sign(X[:4])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: SUBSPACES.sample(0), "n_samples"),
        (lambda: SUBSPACES.sample(3, missing_fraction=1.0), "missing_fraction"),
        (lambda: SUBSPACES.sample(3, random_state="now"), "random_state"),
        (lambda: SUBSPACES.new_tasks(-1), "n_tasks"),
        (lambda: SUBSPACES.label(X[:, :4]), "X has 4 features.*5"),
        (lambda: PATCHES.sample(1.5), "n_samples_per_task"),
        (lambda: PATCHES.sample(3, shared_fraction=2), "shared_fraction"),
        (lambda: PATCHES.new_tasks(0), "n_tasks"),
        (lambda: PATCHES.new_tasks(99), "n_tasks=99.*room for 6"),
        (lambda: principal_angles(A, A[:, :4]), "A has 5 features and B has 4"),
        (lambda: principal_angles(A * 0, A), "A has 2 zero rows of 2"),
        (lambda: feature_alignment(A, A * 0), "directions has 2 zero rows"),
        (lambda: feature_alignment(A, A[:, :4]), r"directions has shape \(2, 4\)"),
        (lambda: masked_roc_auc(SIGNS, SIGNS[:, :2]), "one shape"),
        (lambda: masked_roc_auc(2 * SIGNS, SIGNS), "signs should be .1 for positive"),
        (lambda: masked_roc_auc(SIGNS * NAN, SIGNS), "signs contains NaN"),
        (lambda: masked_roc_auc(SIGNS, SIGNS * NAN), "20 scores of observed.*NaN"),
        (lambda: masked_roc_auc(SIGNS, None), "scores is None"),
        (lambda: multitask_roc_auc_score(Y, Y, average="micro"), "'average'"),
        (lambda: multitask_roc_auc_score(Y, Y[:, :2]), "differ in shape"),
        (lambda: multitask_roc_auc_score(Y[:-1], Y), "differ in shape"),
        (lambda: multitask_roc_auc_score(Y + ids[:, None], Y), "two classes.*has 3"),
        (lambda: multitask_accuracy_score(Y, Y, average=1), "'average'"),
        (lambda: multitask_accuracy_score(Y, Y.astype(str)), "mix strings and numbers"),
        (lambda: multitask_accuracy_score(Y, X[:, :4]), "continuous"),
        (lambda: FilterDisplay(A, kind="row"), "kind should be one of"),
        (lambda: FilterDisplay(A, kind=["patch"]), "kind should be one of"),
        (lambda: FilterDisplay(A, kind="image"), "4 dimensions"),
        (lambda: FilterDisplay(A * 0, kind="patch"), "all 0"),
        (lambda: FilterDisplay(A, kind="patch", n_filters=0), "n_filters.*at least 1"),
        (lambda: FilterDisplay(A, kind="patch", n_filters=2.5), "n_filters.*an int"),
        (lambda: FilterDisplay(A, kind="patch", n_filters=None), "n_filters.*None"),
        (lambda: SpectrumDisplay([1, 2], 1), "descending"),
        (lambda: SpectrumDisplay([2, 1], 3), "n_components.*from 1 to 2"),
        (lambda: SpectrumDisplay([2, 1], 1.5), "n_components should be an int"),
        (lambda: SpectrumDisplay([2, 1], "one"), "n_components should be an int"),
        (lambda: SpectrumDisplay([2, 1], 1).plot("here"), "ax should be.*got str"),
        (lambda: SpectrumDisplay([2, 1], 1).plot([None]), r"ax should be.*axes\[0\]"),
        (lambda: LossCurveDisplay([[1.0]]), "loss_curve should have shape"),
        (lambda: LossCurveDisplay([1], validation_scores=[1, 2]), "has 2 entries"),
        (lambda: TaskAffinityDisplay(A), r"affinity should have shape"),
        (lambda: TaskAffinityDisplay([[1, 0.5], [0, 1]]), "symmetric"),
        (lambda: TaskAffinityDisplay(2 * np.eye(2)), "from -1 to 1"),
        (lambda: TaskAffinityDisplay(np.eye(2), task_names=["a"]), "task_names has 1"),
        (lambda: TaskAffinityDisplay(np.eye(2), task_names=2), "task_names.*got int"),
        (
            lambda: TaskAffinityDisplay(np.eye(2), task_names="ab"),
            "task_names.*got str",
        ),
        (lambda: SubspaceRecoveryDisplay([1], [1.5]), "from 0 to 1"),
        (lambda: SubspaceRecoveryDisplay([1], [0.5], measure=[]), "measure should be"),
        (lambda: SubspaceRecoveryDisplay([1, 2], [0.5]), "distances has shape"),
        (lambda: SubspaceRecoveryDisplay([[1]], [0.5]), "x should have shape"),
        (lambda: SubspaceRecoveryDisplay([1], {}), "distances is an empty dict"),
        (
            lambda: SubspaceRecoveryDisplay.from_estimators(None, A, x=[1]),
            "estimators should be a sequence",
        ),
        (
            lambda: SubspaceRecoveryDisplay.from_estimators([], A, x=[1]),
            "estimators has 0 entries",
        ),
        (lambda: TransferCurveDisplay([0], {"raw": [1]}), "shots should be positive"),
        (lambda: TransferCurveDisplay([1], {}), "scores is an empty dict"),
        (lambda: TransferCurveDisplay.from_table(None), "table lacks the columns"),
        (lambda: TransferCurveDisplay.from_table(FRAME), "table lacks the columns"),
        (
            lambda: TransferCurveDisplay.from_table(
                pd.DataFrame(columns=["task", "shots", "draw", "features", "score"])
            ),
            "no rows",
        ),
    ],
)
def test_metrics_data_sets_and_displays_refuse(call, words):
    refused(call, words)


@pytest.mark.parametrize(
    "display",
    [
        FilterDisplay,
        LossCurveDisplay,
        SpectrumDisplay,
        SubspaceRecoveryDisplay,
        TaskAffinityDisplay,
    ],
)
def test_displays_want_fitted_estimators(display):
    more = (A,) if display is SubspaceRecoveryDisplay else ()
    for value in (None, "relu", StandardScaler(), MultiTaskReLURepresentation):
        refused(lambda v=value: display.from_estimator(v, *more), "should be a .*got")
    unfitted = conv() if display is FilterDisplay else relu()
    with pytest.raises(NotFittedError, match="not fitted"):
        display.from_estimator(unfitted, *more)


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
        (np.where(X[:, :4] > 1, "None", "yes"), "'None'"),
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
