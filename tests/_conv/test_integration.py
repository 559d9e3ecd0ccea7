"""ConvMultiTaskClassifier inside other tools, and out through files."""

import pickle

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import skops.io
import torch
from conv_cases import (
    HEADS,
    SOLVERS,
    STEP,
    assert_same_network,
    fitted,
    make,
    rows_of_patches,
)
from sklearn import config_context
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from mtrl_sklearn.datasets import make_patch_tasks

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def data():
    return rows_of_patches()


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("head", HEADS)
def test_clone_and_pickle(data, head, solver):
    X, y, tasks = data
    model = make(head=head, solver=solver, callbacks=[]).fit(X, y, tasks)
    assert clone(model).get_params() == model.get_params()
    assert not fitted(clone(model))
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.transform(X), model.transform(X))
    np.testing.assert_array_equal(loaded.predict(X, tasks), model.predict(X, tasks))


def test_joblib_maps_a_model_into_memory(data, tmp_path):
    X, y, tasks = data
    model = make().fit(X, y, tasks)
    joblib.dump(model, tmp_path / "model")
    loaded = joblib.load(tmp_path / "model", mmap_mode="r")
    assert not loaded.filters_.flags.writeable
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    loaded.partial_fit(X, y, tasks)
    assert_same_network(loaded, model.partial_fit(X, y, tasks))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("head", HEADS)
def test_skops_loads_without_trusting_more_than_the_class(data, head, solver):
    X, y, tasks = data
    y = np.where(y > 0, "yes", "no")
    settings = {"class_weight": {"yes": 2}, "kernel_size": (1,), "early_stopping": True}
    pipe = make_pipeline(
        StandardScaler(), make(head=head, solver=solver, input_shape=(3, 12))
    )
    rows = X.reshape(80, 36)
    pipe.set_params(**{f"{STEP}__{k}": v for k, v in settings.items()})
    pipe.fit(rows, y, **{f"{STEP}__tasks": tasks})
    dumped = skops.io.dumps(pipe)
    untrusted = skops.io.get_untrusted_types(data=dumped)
    assert untrusted == ["mtrl_sklearn._conv.estimator.ConvMultiTaskClassifier"]
    loaded = skops.io.loads(dumped, trusted=untrusted)
    np.testing.assert_array_equal(loaded.transform(rows), pipe.transform(rows))
    for model in (loaded[-1], pipe[-1]):
        model.partial_fit(rows, y, tasks)
    assert_same_network(loaded[-1], pipe[-1])


def test_pipeline_of_rows(data):
    X, y, tasks = data
    rows = X.reshape(80, 36)
    pipe = make_pipeline(StandardScaler(), make(input_shape=(3, 12)))
    pipe.fit(rows, y, **{f"{STEP}__tasks": tasks})
    assert pipe[-1].tasks_.tolist() == ["ape", "bat", "cat", "dog"]
    assert pipe.transform(rows).shape == (80, 12)
    assert pipe.predict(rows).shape == (80,)
    assert pipe.get_feature_names_out()[0] == f"{STEP}0"
    union = FeatureUnion([("learned", make()), ("raw", "passthrough")])
    assert union.fit(rows, y).transform(rows).shape == (80, 12 * 4 + 36)


@pytest.mark.parametrize("routing", [False, True])
def test_grid_search_leaves_sources_out(data, routing):
    X, y, tasks = data
    seen = []

    class RecordTasks(Callback):
        def on_train_begin(self, net, X=None, **kwargs):
            seen.append(set(X.columns[2].take(slice(None)).tolist()))

    model = make(task_weight="equal", callbacks=[RecordTasks()])
    with config_context(enable_metadata_routing=routing):
        if routing:
            model.set_fit_request(tasks=True).set_score_request(tasks=False)
        search = GridSearchCV(
            model, {"power": [2, 3]}, cv=GroupKFold(4), error_score="raise"
        )
        search.fit(X, y, groups=tasks, tasks=tasks)
    assert seen == [{0, 1, 2}] * 8 + [{0, 1, 2, 3}]
    assert search.best_estimator_.tasks_.tolist() == ["ape", "bat", "cat", "dog"]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_grid_search_in_two_threads(data):
    X, y, tasks = data
    results = []
    for n_jobs in (1, 2):
        with joblib.parallel_config("threading", n_jobs=n_jobs):
            search = GridSearchCV(make(), {"power": [2, 3]}, cv=GroupKFold(2))
            search.fit(X, y, groups=tasks, tasks=tasks)
        results.append(search.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(*results)


def test_a_source_that_is_left_out_is_predicted():
    """Its rows with the shared feature are known, the others are not."""
    X, y, tasks, *_ = make_patch_tasks(
        60, 8, n_features=100, noise_norm=1.2, random_state=0
    )
    model = make(n_filters=48, head="fixed", max_iter="auto")
    splits = [*LeaveOneGroupOut().split(X, y, tasks)][:3]
    scores = cross_val_score(model, X, y, cv=splits, params={"tasks": tasks})
    assert scores.shape == (3,)
    assert 0.65 < scores.mean() < 0.85


def test_ids_are_routed_to_the_heads_of_tasks(data):
    X, y, tasks = data
    with config_context(enable_metadata_routing=True):
        model = make(head="per_task", input_shape=(3, 12))
        model.set_fit_request(tasks=True, sample_weight=True)
        model.set_score_request(tasks=True, sample_weight=True)
        model.set_predict_request(tasks=True)
        rows = X.reshape(80, 36)
        scaler = StandardScaler().set_fit_request(sample_weight=True)
        pipe = make_pipeline(scaler, model)
        metadata = {"tasks": tasks, "sample_weight": np.ones(80)}
        pipe.fit(rows, y, **metadata)
        predicted = pipe.predict(rows, tasks=tasks)
        assert pipe.score(rows, y, **metadata) == (predicted == y).mean()
        splitter = KFold(3, shuffle=True, random_state=0)
        scores = cross_val_score(
            pipe, rows, y, cv=splitter, params=metadata, error_score="raise"
        )
        assert np.isfinite(scores).all()


def test_cross_validated_probabilities(data):
    X, y, _ = data
    found = cross_val_predict(make(), X, y, cv=4, method="predict_proba")
    assert found.shape == (80, 2)
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_a_frozen_network_feeds_a_probe(data):
    X, y, tasks = data
    model = make(max_iter=200, solver="adam").fit(X, y, tasks)
    before = pickle.dumps(model)
    probe = make_pipeline(FrozenEstimator(model), LogisticRegression(C=100))
    assert probe.fit(X, y).score(X, y) > 0.9
    assert pickle.dumps(model) == before


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_set_output(data, library):
    X, y, _ = data
    model = make(max_iter=2).set_output(transform=library).fit(X, y)
    out = model.transform(X)
    assert isinstance(out, {"pandas": pd, "polars": pl}[library].DataFrame)
    assert list(out.columns) == [f"{STEP}{k}" for k in range(12)]
    expected = make(max_iter=2).fit(X, y).transform(X)
    np.testing.assert_array_equal(out.to_numpy(), expected)


def test_predictions_stay_arrays_when_features_do_not(data):
    X, y, _ = data
    model = make().fit(X, y)
    expected = model.predict_proba(X)
    score = model.set_output(transform="pandas").score(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), expected)
    assert score == (model.predict(X) == y).mean()


class RecordLoss(Callback):
    def initialize(self):
        self.losses = []
        return self

    def on_epoch_end(self, net, **kwargs):
        self.losses.append(net.history[-1]["train_loss"])


@pytest.mark.parametrize("solver", SOLVERS)
def test_skorch_callbacks_are_called(data, solver):
    record = RecordLoss()
    model = make(solver=solver, callbacks=[record]).fit(*data)
    np.testing.assert_array_equal(record.losses, model.loss_curve_)
    model.partial_fit(*data)
    assert len(record.losses) == 1
    assert record.losses[0] == model.loss_curve_[-1]


class ScoreFilters(Callback):
    """Score rows by the network of each epoch."""

    def __init__(self, X, codes):
        self.X, self.codes = X, codes

    def initialize(self):
        self.accuracies = []
        return self

    def on_epoch_end(self, net, **kwargs):
        with torch.no_grad():
            scores = net.module_(torch.from_numpy(self.X))
        self.accuracies.append(((scores[:, 0] > 0).numpy() == self.codes).mean())


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_callback_sees_the_network_of_each_epoch(data, solver):
    X, y, tasks = data
    rows = X.reshape(len(X), -1)
    record = ScoreFilters(rows, y == np.unique(y)[1])
    model = make(solver=solver, callbacks=[record]).fit(X, y, tasks)
    assert len(record.accuracies) == model.n_iter_
    assert record.accuracies[-1] == model.score(X, y)


class StopAfterTwo(Callback):
    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("solver", SOLVERS)
def test_callbacks_may_stop_a_fit(data, solver):
    model = make(solver=solver, callbacks=[StopAfterTwo()]).fit(*data)
    assert model.n_iter_ == len(model.loss_curve_) == 2
    twice = make(solver=solver, max_iter=2).fit(*data)
    if solver == "gd":  # the rate of "adam" knows for how many epochs it is made
        np.testing.assert_array_equal(model.filters_, twice.filters_)
    assert model.transform(data[0]).shape == (80, 12)
