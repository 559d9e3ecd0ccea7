"""The estimator inside scikit-learn's tools, and out through files."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import skops.io
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn.datasets import make_subspace_tasks
from mtrl_sklearn.metrics import multitask_roc_auc_scorer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
ALGORITHMS = ["alternating", "joint", "one_step"]


@pytest.fixture(scope="module")
def data():
    X, Y, _, problem = make_subspace_tasks(
        300, 10, n_components=2, n_tasks=8, missing_fraction=0.3, random_state=0
    )
    return X, Y, problem


def make(**parameters):
    defaults = {"n_hidden": 16, "max_iter": 4, "random_state": 0}
    return MultiTaskReLURepresentation(**{**defaults, **parameters})


def to_long(X, Y):
    rows, columns = np.nonzero(~np.isnan(Y))
    return X[rows], Y[rows, columns], columns


def test_frozen_representation_solves_a_new_task(data):
    X, Y, problem = data
    representation = MultiTaskReLURepresentation(64, random_state=0).fit(X, Y)
    new = problem.new_tasks(1, random_state=1)
    X_new, y_new = new.sample(2032, random_state=2)
    y_new = y_new.ravel()
    probe = make_pipeline(
        FrozenEstimator(representation), StandardScaler(), LogisticRegression(C=0.1)
    )
    before = pickle.dumps(representation)
    probe.fit(X_new[:32], y_new[:32])
    assert probe.score(X_new[32:], y_new[32:]) > 0.75
    assert pickle.dumps(representation) == before


def test_pipeline_with_wide_labels(data):
    X, Y, _ = data
    pipe = make_pipeline(StandardScaler(), make(output="scores")).fit(X, Y)
    assert pipe.transform(X).shape == (300, 8)
    assert pipe.score(X, Y) > 0.5
    scores = cross_val_score(
        pipe, X, Y, cv=KFold(3), scoring=multitask_roc_auc_scorer, error_score="raise"
    )
    assert scores.shape == (3,)


def test_pipeline_passes_task_ids_on(data):
    X, y, tasks = to_long(*data[:2])
    pipe = make_pipeline(StandardScaler(), make())
    step = "multitaskrelurepresentation"
    pipe.fit(X, y, **{f"{step}__tasks": tasks})
    assert pipe[-1].n_tasks_ == 8


def test_task_ids_are_routed(data):
    X, y, tasks = to_long(*data[:2])
    with config_context(enable_metadata_routing=True):
        model = make().set_fit_request(tasks=True).set_score_request(tasks=True)
        pipe = make_pipeline(StandardScaler(), model).fit(X, y, tasks=tasks)
        assert pipe[-1].n_tasks_ == 8
        scores = cross_val_score(
            pipe, X, y, cv=KFold(3), params={"tasks": tasks}, error_score="raise"
        )
        assert scores.shape == (3,)
        assert np.isfinite(scores).all()


@pytest.mark.parametrize("form", ["wide", "long"])
def test_grid_search_in_two_processes(data, form):
    X, Y, _ = data
    y, fit_parameters = Y, {}
    if form == "long":
        X, y, tasks = to_long(X, Y)
        fit_parameters = {"tasks": tasks}
    grid = {"n_components": [1, 2], "algorithm": ["alternating", "one_step"]}
    with config_context(enable_metadata_routing=form == "long"):
        model = make()
        if form == "long":
            model.set_fit_request(tasks=True).set_score_request(tasks=True)
        results = [
            GridSearchCV(
                model, grid, cv=KFold(2), n_jobs=n_jobs, error_score="raise"
            ).fit(X, y, **fit_parameters)
            for n_jobs in (1, 2)
        ]
    scores = [result.cv_results_["mean_test_score"] for result in results]
    np.testing.assert_allclose(*scores)
    assert results[0].best_params_ == results[1].best_params_


def test_feature_union_and_column_transformer(data):
    X, Y, _ = data
    union = FeatureUnion([("learned", make()), ("raw", "passthrough")]).fit(X, Y)
    assert union.transform(X).shape == (300, 26)
    frame = pd.DataFrame(X, columns=[f"x{k}" for k in range(10)])
    columns = ColumnTransformer([("learned", make(), ["x0", "x1", "x2"])]).fit(frame, Y)
    assert columns.transform(frame).shape == (300, 16)
    names = columns.get_feature_names_out()
    assert names[0] == "learned__multitaskrelurepresentation0"


def test_probe_behind_the_representation_is_searched(data):
    """Any scikit-learn step can follow, with the labels of one task."""
    X = data[0]
    y = (X[:, 0] > 0).astype(int)
    pipe = make_pipeline(make(), SelectKBest(k=4), LogisticRegression())
    search = GridSearchCV(pipe, {"selectkbest__k": [2, 8]}, cv=3).fit(X, y)
    assert search.best_score_ > 0.7


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_set_output(data, library):
    X, Y, _ = data
    model = make(output="projection", n_components=2).set_output(transform=library)
    out = model.fit(X, Y).transform(X)
    assert isinstance(out, {"pandas": pd, "polars": pl}[library].DataFrame)
    assert list(out.columns) == [f"multitaskrelurepresentation{k}" for k in range(2)]


def test_data_frames_in(data):
    X, Y, _ = data
    expected = make().fit(X, Y)
    pandas = make().fit(
        pd.DataFrame(X).add_prefix("x"), pd.DataFrame(Y).add_prefix("t")
    )
    names = [f"t{k}" for k in range(8)]
    polars_labels = pl.DataFrame(np.where(np.isnan(Y), None, Y).tolist(), orient="row")
    polars = make().fit(pl.DataFrame(X), polars_labels.rename(lambda c: "t" + c[-1]))
    assert pandas.feature_names_in_.tolist() == [f"x{k}" for k in range(10)]
    for model in (pandas, polars):
        assert model.task_names_.tolist() == names
        np.testing.assert_array_equal(model.hidden_weights_, expected.hidden_weights_)
    with pytest.raises(ValueError, match="feature names"):
        pandas.transform(pd.DataFrame(X).add_prefix("z"))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_clone_and_pickle(data, algorithm):
    X, Y, _ = data
    model = make(algorithm=algorithm, callbacks=[]).fit(X, Y)
    assert clone(model).get_params() == model.get_params()
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.transform(X), model.transform(X))


@pytest.mark.parametrize("form", ["single", "wide", "words", "long"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_skops_loads_without_trusting_more_than_the_class(data, algorithm, form):
    X, Y, _ = data
    arguments = {
        "single": (X, X[:, 0] > 0),
        "wide": (X, Y),
        "words": (X, np.where(np.isnan(Y), None, np.where(Y == 1, "yes", "no"))),
        "long": to_long(X, Y),
    }[form]
    pipe = make_pipeline(StandardScaler(), make(algorithm=algorithm))
    step = "multitaskrelurepresentation"
    extra = {f"{step}__tasks": arguments[2]} if form == "long" else {}
    pipe.fit(*arguments[:2], **extra)
    dumped = skops.io.dumps(pipe)
    untrusted = skops.io.get_untrusted_types(data=dumped)
    assert untrusted == ["mtrl_sklearn._relu.estimator.MultiTaskReLURepresentation"]
    loaded = skops.io.loads(dumped, trusted=untrusted)
    np.testing.assert_array_equal(loaded.transform(X), pipe.transform(X))
    np.testing.assert_array_equal(loaded.predict(X), pipe.predict(X))
    loaded[-1].partial_fit(*arguments)
