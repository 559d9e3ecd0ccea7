"""Data at the edge of what can be learned from: fits end, finite, in all solvers.

Where the truth is known it is found; where it is lost, an error says so. No fit returns
NaN or infinity.
"""

import re

import numpy as np
import pytest

from mtrl_sklearn import ConvMultiTaskClassifier, MultiTaskReLURepresentation
from mtrl_sklearn.probing import LinearProbe, task_affinity

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*tasks show labels of at most 1 class"),
    pytest.mark.filterwarnings("ignore:X has features of very different scales"),
]

ALGORITHMS = ["alternating", "joint", "one_step"]
SOLVERS = ["gd", "adam"]


def relu(algorithm, **parameters):
    defaults = {"n_hidden": 8, "max_iter": 2, "random_state": 0}
    return MultiTaskReLURepresentation(algorithm=algorithm, **defaults | parameters)


def conv(solver, **parameters):
    defaults = {"n_filters": 4, "max_iter": 2, "random_state": 0}
    return ConvMultiTaskClassifier(solver=solver, **defaults | parameters)


def assert_finite(model, rows):
    """Fitted arrays, state, features and predictions are finite."""
    for name, value in vars(model).items():
        if name.endswith("_"):
            state = value.items() if isinstance(value, dict) else [(name, value)]
            for part, array in state:
                array = (
                    np.asarray(array) if not isinstance(array, list) else np.empty(0)
                )
                if array.dtype.kind == "f":
                    assert np.isfinite(array).all(), (name, part)
    for method in ("transform", "decision_function", "predict_proba"):
        if hasattr(model, method):
            assert np.isfinite(getattr(model, method)(rows)).all(), method
    model.predict(rows)


def rows(n_rows=40, n_features=5, seed=0):
    return np.random.default_rng(seed).standard_normal((n_rows, n_features))


X = rows()
Y = (X @ rows(5, 4, seed=1) > 0).astype(float)
y = Y[:, 0]


def with_column(value, place=2):
    changed = X.copy()
    changed[:, place] = value
    return changed


HUGE, TINY = X * 1, X * 1
HUGE[:, 2] *= 1e12
TINY[:, 2] *= 1e-12
ONE_OF_EACH = np.array([[0.0, 1, 0, 1], [1, 0, 0, 1]])
DOMINATED = np.where(np.arange(400)[:, None] < 6, (rows(400, 9) > 0) * 1.0, np.nan)
DOMINATED[:, 0] = rows(400)[:, 0] > 0

EDGES = {
    "a constant column": (with_column(3.0), Y),
    "a column of zeros": (with_column(0.0), Y),
    "constant columns only": (np.full((40, 5), 2.5), Y),
    "zeros only": (np.zeros((40, 5)), Y),
    "a column of scale 1e12": (HUGE, Y),
    "a column of scale 1e-12": (TINY, Y),
    "a column that is nearly constant": (with_column(1e6 + 1e-9 * X[:, 2]), Y),
    "duplicated rows": (X[:4].repeat(10, axis=0), Y[:4].repeat(10, axis=0)),
    "one row, repeated, with either label": (X[:1].repeat(40, axis=0), Y),
    "duplicated columns": (X[:, [0, 0, 0, 1]], Y),
    "one feature": (X[:, :1], Y),
    "two rows": (X[:2], ONE_OF_EACH),
    "one row of each class, 1 feature": (X[:2, :1], ONE_OF_EACH),
    "fewer rows than hidden units": (X[:5], Y[:5]),
    "more features than rows": (rows(6, 50), Y[:6]),
    "more tasks than rows": (X[:6], rows(6, 50) > 0),
    "one task with most of the labels": (rows(400), DOMINATED),
    "large integers": (np.round(X * 1e15).astype(np.int64), Y),
    "bytes": (np.round(40 * X + 128).clip(0, 255).astype(np.uint8), Y),
    "float16 at its largest": ((X / np.abs(X).max() * 65504).astype(np.float16), Y),
    "float16 at its smallest": ((X * 6e-8).astype(np.float16), Y),
    "float32 whose squares overflow": ((1e30 * X).astype(np.float32), Y),
    "float32 whose squares underflow": ((1e-30 * X).astype(np.float32), Y),
    "float64 whose squares overflow": (1e200 * X, Y),
    "float64 whose squares underflow": (1e-200 * X, Y),
    "an offset that hides the data": (X + 1e12, Y),
    "a float32 offset that hides the data": ((X + 1e7).astype(np.float32), Y),
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("edge", EDGES)
def test_the_representation_stays_finite(algorithm, edge):
    X, Y = EDGES[edge]
    model = relu(algorithm).fit(X, Y)
    assert_finite(model, X)
    assert_finite(model.partial_fit(X, Y), X)
    assert_finite(relu(algorithm, n_components=1, n_hidden=1).fit(X, Y), X)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("edge", EDGES)
def test_the_classifier_stays_finite(solver, edge):
    X, Y = EDGES[edge]
    y = np.asarray(Y)[:, 0]
    for parameters in ({}, {"input_shape": (X.shape[1], 1), "power": 3}):
        model = conv(solver, **parameters).fit(X, y)
        assert_finite(model, X)
        assert_finite(model.partial_fit(X, y), X)


@pytest.mark.parametrize("edge", EDGES)
def test_a_probe_stays_finite(edge):
    X, Y = EDGES[edge]
    y = np.asarray(Y)[:, 0]
    representation = relu("one_step").fit(X, Y)
    for probe in (LinearProbe(), LinearProbe(representation)):
        probe.fit(X, y)
        for coef in probe.coef_.values():
            assert np.isfinite(coef).all()
        assert np.isfinite(probe.decision_function(X)).all()
        assert np.isfinite(probe.predict_proba(X)).all()
    affinity = task_affinity(representation, X)
    assert np.isfinite(affinity).all()
    assert np.isfinite(task_affinity(representation)).all()


# ------------------------------------------------------------------ and learn the truth


def learnable(n_rows=160):
    """Three tasks that depend on the first of four columns alone."""
    X = rows(n_rows, 4)
    return X, np.column_stack([X[:, 0] > t for t in (-0.3, 0.0, 0.3)]).astype(float)


QUICK = {"max_iter": 40, "n_hidden": 16, "batch_size": 40, "learning_rate": 0.01}
SCALES = {
    "1e-200": (np.float64, 1e-200, 0),
    "1e200": (np.float64, 1e200, 0),
    "float32 1e-30": (np.float32, 1e-30, 0),
    "float32 1e37": (np.float32, 1e37, 0),
    "large integers": (np.int64, 1e15, 0),
    "float16": (np.float16, 1e4, 0),
    "offset 1e6": (np.float64, 1.0, 1e6),
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_scale_and_offset_do_not_matter_to_what_is_learned(algorithm):
    X, Y = learnable()
    model = relu(algorithm, **QUICK)
    plain = model.fit(X, Y).score(X, Y)
    assert plain > 0.9
    for dtype, factor, offset in SCALES.values():
        moved = (factor * X + offset).astype(dtype)
        assert model.fit(moved, Y).score(moved, Y) == pytest.approx(plain, abs=0.05)


@pytest.mark.parametrize("solver", SOLVERS)
def test_scale_does_not_matter_to_the_classifier(solver):
    X, Y = learnable()
    y = Y[:, 1]
    model = conv(solver, max_iter=60, n_filters=8, kernel_size=1)
    plain = model.fit(X, y).score(X, y)
    assert plain > 0.9
    for dtype, factor, offset in SCALES.values():
        moved = (factor * X + offset).astype(dtype)
        assert model.fit(moved, y).score(moved, y) == pytest.approx(plain, abs=0.1)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_is_there_is_learned(algorithm):
    X, Y = learnable()
    model = relu(algorithm, **QUICK)
    one_feature = X[:, :1], Y
    repeated = X[:20].repeat(8, axis=0), Y[:20].repeat(8, axis=0)
    constant = np.hstack([X, np.full((len(X), 3), 7.0)]), Y
    for rows_, labels in (one_feature, repeated, constant):
        assert model.fit(rows_, labels).score(rows_, labels) > 0.9
    few_of_the_others = Y.copy()
    few_of_the_others[40:, 1:] = np.nan
    assert model.fit(X, few_of_the_others).score(X[40:], Y[40:]) > 0.85


# --------------------------------------------------------------- or say that it is lost

EXTREMES = {
    "learning_rate": [1e3, 1e10, 1e30, 1e300],
    "weight_decay": [1e3, 1e10, 1e30, 1e300],
}


def check_end(model, rows, *labels):
    """A fit ends with finite arrays, or in an error that says what to lower."""
    message = r"(?i)lower (learning_rate|weight_decay)"
    try:
        model.fit(rows, *labels)
    except ValueError as error:
        told = str(error)
    else:
        assert_finite(model, rows)
        return
    assert re.search(message, told), told
    assert not [name for name in vars(model) if name.endswith("_")]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", ["logistic", "hinge"])
@pytest.mark.parametrize("algorithm", ["alternating", "joint"])
def test_extreme_steps_of_the_representation(algorithm, loss, dtype):
    for name, values in EXTREMES.items():
        for value in values:
            model = relu(algorithm, loss=loss, max_iter=4, dropout=0.0)
            check_end(model.set_params(**{name: value}), X.astype(dtype), Y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("head", ["shared", "fixed"])
@pytest.mark.parametrize("power", [1, 3])
@pytest.mark.parametrize("solver", SOLVERS)
def test_extreme_steps_of_the_classifier(solver, power, head, dtype):
    for name, values in (EXTREMES | {"init_scale": [1e3, 1e30, 1e300, 1e-300]}).items():
        for value in values:
            model = conv(solver, power=power, head=head, max_iter=4)
            check_end(model.set_params(**{name: value}), X.astype(dtype), y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("share", [0.2, 1.0])
def test_rows_as_large_as_floats_go(dtype, share):
    largest = (share * X / np.abs(X).max() * np.finfo(dtype).max).astype(dtype)
    for algorithm in ALGORITHMS:
        check_end(relu(algorithm), largest, Y)
    for solver in SOLVERS:
        check_end(conv(solver), largest, y)


@pytest.mark.parametrize("power", [1.5, 30, 1e3, 1e308])
@pytest.mark.parametrize("solver", SOLVERS)
def test_extreme_powers(solver, power):
    check_end(conv(solver, power=power, max_iter=4), X, y)


@pytest.mark.parametrize(
    "weights", [1e300, 1e-300, np.where(np.arange(40) < 3, 1e300, 1e-300)]
)
@pytest.mark.parametrize("solver", SOLVERS)
def test_extreme_weights(solver, weights):
    model = conv(solver).fit(X, y, sample_weight=weights * np.ones(40))
    assert_finite(model, X)
