"""Warnings point at the line of the caller, however deep they are raised."""

import inspect
import warnings

import numpy as np
import pytest
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtrl_sklearn import ConvMultiTaskClassifier, MultiTaskReLURepresentation

rng = np.random.default_rng(0)
X = rng.standard_normal((60, 5))
Y = (X[:, :3] > 0).astype(float)
Y[:, 2] = np.nan  # which every fit warns of
IMAGES = rng.standard_normal((40, 8, 8, 3))  # channels last


def relu(**parameters):
    return MultiTaskReLURepresentation(8, random_state=0, **parameters)


def fit():
    return relu(max_iter=1).fit(X, Y), inspect.currentframe().f_lineno


def fit_transform():
    return relu(max_iter=1).fit_transform(X, Y), inspect.currentframe().f_lineno


def fit_pipeline():
    pipe = make_pipeline(StandardScaler(), relu(max_iter=1))
    return pipe.fit(X, Y), inspect.currentframe().f_lineno


def search():
    scoring = make_scorer(lambda y, score: 0.0)
    search = GridSearchCV(
        relu(max_iter=1), {"dropout": [0, 0.5]}, scoring=scoring, cv=KFold(2)
    )
    return search.fit(X, Y), inspect.currentframe().f_lineno


def images():
    model = ConvMultiTaskClassifier(4, max_iter=1)
    return model.fit(IMAGES, np.arange(40) % 2), inspect.currentframe().f_lineno


def images_by_parts():
    model = ConvMultiTaskClassifier(4, max_iter=1)
    return model.partial_fit(IMAGES, np.arange(40) % 2), inspect.currentframe().f_lineno


@pytest.mark.parametrize(
    "call", [fit, fit_transform, fit_pipeline, search, images, images_by_parts]
)
def test_warnings_point_at_the_line_of_the_caller(call):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        _, line = call()
    assert told
    assert {(warning.filename, warning.lineno) for warning in told} == {
        (__file__, line)
    }
