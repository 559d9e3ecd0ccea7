"""Predictions and scores of many rows take the memory of their result, not of X."""

import tracemalloc

import numpy as np
import pytest
from bad_input_cases import QUIET, conv, relu
from memory import growth_of_memory, needs_status
from scipy.sparse import random_array

from mtrl_sklearn._arrays.rows import map_rows
from mtrl_sklearn._relu import network
from mtrl_sklearn.metrics import masked_roc_auc
from mtrl_sklearn.probing import LinearProbe

pytestmark = QUIET

N_ROWS, N_FEATURES, N_TASKS = 240_000, 64, 64
ALLOWED = 90e6  # bytes beyond the result


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A read-only memory map of 61 MB."""
    path = tmp_path_factory.mktemp("rows") / "X"
    few = np.random.default_rng(0).standard_normal((1000, N_FEATURES))
    mapped = np.memmap(path, np.float32, "w+", shape=(N_ROWS, N_FEATURES))
    mapped[:] = np.resize(few, mapped.shape)
    mapped.flush()
    return np.memmap(path, np.float32, "r", shape=mapped.shape)


@pytest.fixture(scope="module")
def labels(rows):
    return (rows > 0).astype(np.int8)


@pytest.fixture(scope="module")
def models(rows, labels):
    few = slice(0, 200)
    tasks = relu(n_hidden=128).fit(rows[few], labels[few])
    filters = conv(n_filters=64, kernel_size=8).fit(rows[few], labels[few, 0])
    return {
        "tasks": tasks,
        "several classes": relu(n_hidden=128).fit(
            rows[few], labels[few] + 2 * labels[few, ::-1]
        ),
        "filters": filters,
        "probe": LinearProbe(tasks).fit(rows[few], labels[few, 0]),
        "probe of filters": LinearProbe(filters).fit(rows[few], labels[few, 0]),
        "raw probe": LinearProbe().fit(rows[few], labels[few, 0]),
    }


@needs_status
@pytest.mark.parametrize(
    ("name", "method"),
    [
        *(("tasks", m) for m in ("predict", "predict_proba", "decision_function")),
        ("several classes", "predict"),
        *(("filters", m) for m in ("predict", "predict_proba", "score")),
        *(("probe", m) for m in ("predict", "predict_proba", "score")),
        ("probe of filters", "predict_proba"),
        ("raw probe", "decision_function"),
    ],
)
def test_predictions_take_the_memory_of_their_result(
    models, rows, labels, name, method
):
    predict = getattr(models[name], method)
    more = (labels[:, 0],) if method == "score" else ()
    predict(rows[:1000], *(y[:1000] for y in more))  # what is allocated once
    with growth_of_memory() as growth:
        result = np.asarray(predict(rows, *more))
    assert growth.peak < result.nbytes + ALLOWED


@needs_status
@pytest.mark.parametrize("weighted", [False, True])
def test_a_score_takes_the_memory_of_what_is_ranked(models, rows, labels, weighted):
    weights = np.ones(N_ROWS) if weighted else None
    model = models["tasks"]
    model.score(rows[:1000], labels[:1000])
    with growth_of_memory() as growth:
        model.score(rows, labels, sample_weight=weights)
    assert growth.peak < 4 * N_ROWS * N_TASKS + ALLOWED


@needs_status
def test_roc_auc_ranks_few_tasks_at_a_time(rows, labels):
    signs = 2 * labels[:, ::2] - 1
    masked_roc_auc(signs[:1000], rows[:1000, ::2])
    with growth_of_memory() as growth:
        masked_roc_auc(signs, rows[:, ::2])
    assert growth.peak < 4 * signs.size + ALLOWED / 2  # a copy in rows


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
def test_blocks_give_what_all_rows_give_at_once(models, rows, dtype, monkeypatch):
    few = np.asarray(8 * rows[:1000]).clip(0 if dtype == np.uint8 else -9, 9)
    few = few.astype(dtype)
    found = {}
    for entries in (2**11, 2**30):
        monkeypatch.setattr("mtrl_sklearn._arrays.rows.LARGE_BLOCK_ENTRIES", entries)
        for name, model in models.items():
            for method in ("predict", "predict_proba", "decision_function"):
                found.setdefault((name, method), []).append(getattr(model, method)(few))
    tolerance = 1e-12 if dtype == np.float64 else 2e-5
    for key, (blocks, whole) in found.items():
        assert blocks.dtype == whole.dtype
        if blocks.dtype.kind == "f":
            np.testing.assert_allclose(blocks, whole, tolerance, tolerance, str(key))
        else:
            np.testing.assert_array_equal(blocks, whole, str(key))


@pytest.mark.parametrize("n_rows", [0, 1, 4, 5, 9])
def test_rows_are_mapped_in_order(n_rows):
    doubled = map_rows(lambda part: 2 * np.arange(n_rows)[part, None], n_rows, 4)
    np.testing.assert_array_equal(doubled, 2 * np.arange(n_rows)[:, None])


def test_full_columns_are_counted_without_a_copy_of_the_indices(monkeypatch):
    monkeypatch.setattr(network, "LARGE_BLOCK_ENTRIES", 1000)
    X = random_array((5000, 40), density=0.3, format="csr", rng=0).tolil()
    X[:, [3, 17]] = 1.0
    X = X.tocsr()
    tracemalloc.start()
    found = network.find_full_columns(X, "cpu")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.nonzero().ravel().tolist() == [3, 17]
    assert peak < X.indices.nbytes / 4
