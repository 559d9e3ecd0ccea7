"""Warnings point at the line of the caller, however deep they are raised."""

import ast
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback, EpochScoring

import mtrl_sklearn
from mtrl_sklearn import ConvMultiTaskClassifier, MultiTaskReLURepresentation
from mtrl_sklearn.metrics import multitask_roc_auc_score
from mtrl_sklearn.model_selection import cross_val_predict
from mtrl_sklearn.probing import (
    LinearProbe,
    calibrate,
    label_agreement,
    probe_new_tasks,
    source_task_transfer,
)

rng = np.random.default_rng(0)
X = rng.standard_normal((60, 5))
UNEVEN = X * np.array([1000, 1, 1, 1, 1])  # which fit warns of
Y = (X[:, :3] > 0).astype(float)
Y[:, 2] = np.nan  # which every fit warns of
WHOLE = (rng.standard_normal((60, 4)) > 0).astype(float)
NOTHING, SCORES = np.full((60, 2), np.nan), np.zeros((60, 2))
IMAGES = rng.standard_normal((40, 3, 8, 8))
CLASSES = np.arange(40) % 2
COLUMN = CLASSES[:, None]  # one column, which is read as one label per row
WARNING = {"warn", "warn_explicit"}  # functions of Python's module
SCORER = make_scorer(lambda y, score: 0.0)
VALIDATES = EpochScoring(SCORER, on_train=False)  # on rows that there are none of


def relu(**parameters):
    parameters = {"max_iter": 1} | parameters
    return MultiTaskReLURepresentation(8, random_state=0, **parameters)


def conv():
    return ConvMultiTaskClassifier(4, max_iter=1)


class Named(MultiTaskReLURepresentation):
    """Like a user's, which changes nothing."""


class Fitting(MultiTaskReLURepresentation):
    """Like a user's, which fits by itself."""

    def fit(self, X, y):
        return super().fit(X, y)


class Score(Callback):
    """Like a user's, which computes a score after each epoch."""

    def on_epoch_end(self, net, **kwargs):
        multitask_roc_auc_score(NOTHING, SCORES)


@pytest.fixture(scope="module")
def fitted():
    """A fitted estimator of each kind."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return relu().fit(X, WHOLE), conv().fit(IMAGES, CLASSES)


# Each on a line of its own, which is where its warnings have to point.
FITS = {
    "fit": lambda: relu().fit(X, Y),
    "fit_transform": lambda: relu().fit_transform(X, Y),
    "one step": lambda: relu(algorithm="one_step").fit(X, Y),
    "images": lambda: conv().fit(IMAGES, COLUMN),
    "images by parts": lambda: conv().partial_fit(IMAGES, COLUMN),
    "pipeline": lambda: make_pipeline(StandardScaler(), relu()).fit(X, Y),
    "search": lambda: GridSearchCV(relu(), {}, scoring=SCORER, cv=KFold(2)).fit(X, Y),
    "validation": lambda: cross_val_score(relu(), X, Y, scoring=SCORER, cv=KFold(2)),
    "predictions": lambda: cross_val_predict(relu(), X, Y, cv=KFold(2)),
    "callback": lambda: relu(algorithm="joint", callbacks=[VALIDATES]).fit(X, WHOLE),
    "subclass": lambda: Named(8, max_iter=1).fit(X, Y),
    "score": lambda: multitask_roc_auc_score(NOTHING, SCORES),
    "agreement": lambda: label_agreement(NOTHING == 0),
    "source tasks": lambda: source_task_transfer(relu(), X, WHOLE, shots=(4,)),
}
FITTED = {
    "frozen": lambda relu_, conv_: FrozenEstimator(conv_).score(IMAGES, COLUMN),
    "frozen, in a pipeline": lambda relu_, conv_: make_pipeline(
        FrozenEstimator(conv_)
    ).score(IMAGES, COLUMN),
    "new tasks": lambda relu_, conv_: probe_new_tasks(relu_, X, WHOLE, shots=[99]),
    "calibration": lambda relu_, conv_: calibrate(relu_, UNEVEN, WHOLE, shots=(4,)),
    "probe": lambda relu_, conv_: LinearProbe(relu_).fit(X, WHOLE[:, :1]),
}


def assert_all_point_at(told, first, last):
    assert told
    for warning in told:
        assert warning.filename == __file__, warning
        assert first <= warning.lineno <= last, warning


def lines_of(function):
    """First and last line of a function."""
    lines = [line for *_, line in function.__code__.co_lines() if line is not None]
    return min(lines), max(lines)


@pytest.mark.parametrize("name", FITS)
def test_warnings_point_at_the_line_of_the_caller(name):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        FITS[name]()
    assert_all_point_at(told, *lines_of(FITS[name]))


@pytest.mark.parametrize("name", FITTED)
def test_warnings_of_fitted_estimators_point_at_the_line_of_the_caller(fitted, name):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        FITTED[name](*fitted)
    assert_all_point_at(told, *lines_of(FITTED[name]))


def test_warnings_point_into_a_subclass_that_calls_fit():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        make_pipeline(StandardScaler(), Fitting(8, max_iter=1)).fit(X, Y)
    assert_all_point_at(told, *lines_of(Fitting.fit))


def test_warnings_point_into_a_callback_that_computes_a_score():
    model = relu(algorithm="joint", max_iter="auto", callbacks=[Score()])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model.fit(X, WHOLE)
    assert_all_point_at(told, *lines_of(Score.on_epoch_end))


def test_one_function_alone_warns():
    """By `warnings.warn` lines of this package or of scikit-learn would be named."""
    package = Path(mtrl_sklearn.__file__).parent
    callers = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_import = isinstance(node, ast.ImportFrom) and node.module == "warnings"
            names = {n.name for n in node.names} if is_import else set()
            is_call = isinstance(node, ast.Attribute) and node.attr in WARNING
            if names & WARNING or (is_call and ast.unparse(node.value) == "warnings"):
                callers.add(path.relative_to(package).as_posix())
    assert callers == {"_warnings.py"}
