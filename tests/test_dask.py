"""Dask: searches on its workers, and predictions for blocks of its arrays."""

import dask
import dask.array as da
import joblib
import numpy as np
import pytest
from conv_cases import images_of_bars
from conv_cases import make as make_conv
from distributed import Client, LocalCluster
from memory import growth_of_memory, needs_status
from relu_cases import make, quick, subspace_rows
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtrl_sklearn.probing import LinearProbe

pytestmark = quick
BLOCK = 70  # rows: 4 blocks and a smaller one


def fit_relu(output="hidden", dtype=np.float64):
    X, Y = subspace_rows()
    return make(output=output).fit(X, Y), X.astype(dtype)


def fit_pipeline():
    X, Y = subspace_rows()
    return make_pipeline(StandardScaler(), make()).fit(X, Y), X


def fit_probe():
    relu, X = fit_relu()
    return LinearProbe(relu).fit(X[:40], np.arange(40) % 3), X


def fit_conv():
    X, y, tasks = images_of_bars()
    return make_conv().fit(X, y, tasks), np.tile(X, (4, 1, 1, 1))


# method, and what fits a model and gives the rows that it is asked about
PREDICTIONS = {
    "hidden features": ("transform", fit_relu),
    "of float32": ("transform", lambda: fit_relu(dtype=np.float32)),
    "projection": ("transform", lambda: fit_relu("projection")),
    "scores": ("transform", lambda: fit_relu("scores")),
    "probabilities of tasks": ("predict_proba", fit_relu),
    "labels of tasks": ("predict", fit_relu),
    "pipeline": ("transform", fit_pipeline),
    "probabilities of classes": ("predict_proba", fit_probe),
    "decisions": ("decision_function", fit_probe),
    "classes": ("predict", fit_probe),
    "filters": ("transform", fit_conv),
    "classes of images": ("predict", fit_conv),
}


def in_blocks(method, rows, like, **others):
    """A prediction of every block of rows; ``like`` is that of a few rows."""
    return rows.map_blocks(
        method,
        drop_axis=range(like.ndim, rows.ndim),
        chunks=(rows.chunks[0], *like.shape[1:]),
        dtype=like.dtype,
        **others,
    )


@pytest.mark.parametrize("name", PREDICTIONS)
def test_blocks_of_rows_give_the_prediction_of_all(name):
    method, fit = PREDICTIONS[name]
    model, X = fit()
    predict = getattr(model, method)
    whole = predict(X)
    read = []

    def note(block):
        read.append(len(block))
        return block

    rows = da.from_array(X, chunks=(BLOCK, *X.shape[1:])).map_blocks(note, meta=X[:0])
    lazy = in_blocks(predict, rows, predict(X[:2]))
    assert not read  # nothing is computed yet
    assert lazy.shape == whole.shape
    assert lazy.dtype == whole.dtype
    assert lazy.chunks[0] == rows.chunks[0]
    with dask.config.set(scheduler="threads", num_workers=2):
        values = lazy.compute()
    assert sorted(read) == sorted(rows.chunks[0])
    assert values.dtype == whole.dtype
    if np.issubdtype(whole.dtype, np.floating):
        rtol = 1e-5 if whole.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(values, whole, rtol=rtol, atol=rtol)
    else:
        np.testing.assert_array_equal(values, whole)


def test_blocks_that_a_filter_left_empty():
    model, X = fit_relu()
    kept = np.arange(len(X)) >= BLOCK
    rows = da.from_array(X, chunks=(BLOCK, -1))[da.from_array(kept, chunks=BLOCK)]
    found = rows.map_blocks(model.predict_proba, dtype=float).compute()
    np.testing.assert_allclose(found, model.predict_proba(X[BLOCK:]), rtol=1e-12)


@needs_status
def test_from_one_memory_map_to_another_in_the_memory_of_a_block(tmp_path):
    model, X = fit_relu(dtype=np.float32)
    mapped = np.memmap(tmp_path / "X", np.float32, "w+", shape=(1_000_000, X.shape[1]))
    mapped[:] = np.resize(X, mapped.shape)
    features = np.memmap(tmp_path / "features", np.float32, "w+", shape=(1_000_000, 16))
    lazy = in_blocks(
        model.transform, da.from_array(mapped, chunks=(20_000, -1)), features[:2]
    )
    lazy[:20_000].compute(scheduler="sync")  # what the first block allocates once
    with growth_of_memory() as growth:
        da.store(lazy, features, lock=False, scheduler="sync")
    assert growth.peak < features.nbytes / 4
    np.testing.assert_allclose(features[-300:], model.transform(mapped[-300:]), 1e-5)


@pytest.fixture
def client():
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="tcp://127.0.0.1",
            dashboard_address=None,
        ) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(2)
        yield client


def scores_of(search):
    return {k: v for k, v in search.cv_results_.items() if k.endswith("_score")}


def n_executed(dask_worker):
    return dask_worker.state.executed_count


def transform(block, model):
    return model.transform(block)


def test_two_workers_search_as_one_process_does_and_transform_blocks(client):
    X, Y = subspace_rows()
    search = GridSearchCV(
        make(), {"n_components": [2, 4, None]}, cv=KFold(2), error_score="raise"
    )
    search.fit(X, Y)
    alone, expected = search.best_params_, scores_of(search)
    for scatter in (None, [X, Y]):
        with joblib.parallel_config("dask", client=client, scatter=scatter):
            search.fit(X, Y)
        assert search.best_params_ == alone
        scores = scores_of(search)
        assert scores.keys() == expected.keys()
        for name in expected:
            np.testing.assert_array_equal(scores[name], expected[name], name)

    best = search.best_estimator_
    features = in_blocks(
        transform,
        da.from_array(X, chunks=(BLOCK, -1)),
        best.transform(X[:2]),
        model=client.scatter(best, broadcast=True),
    )
    np.testing.assert_allclose(
        features.compute(), best.transform(X), rtol=1e-12, atol=1e-12
    )
    assert min(client.run(n_executed).values()) > 0
