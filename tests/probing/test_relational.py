"""Tools for new tasks with rows= and sample_weight=: as if entries were repeated."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.sparse import csc_array, csr_array, issparse
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

from mtrl_sklearn import ConvMultiTaskClassifier, MultiTaskReLURepresentation
from mtrl_sklearn._labels import signs as of_signs
from mtrl_sklearn.datasets import make_patch_tasks, make_subspace_tasks
from mtrl_sklearn.model_selection import cross_val_predict
from mtrl_sklearn.probing import (
    LinearProbe,
    _calibration,
    _map_logistic,
    calibrate,
    probe_new_tasks,
    source_task_transfer,
)
from mtrl_sklearn.probing._sources import read_sources

N = 200
X, Y, *_ = make_subspace_tasks(
    N, 8, n_components=2, n_tasks=6, missing_fraction=0.4, random_state=0
)
ROWS, TASKS = np.random.default_rng(0).permutation(np.argwhere(~np.isnan(Y))).T
LABELS = Y[ROWS, TASKS]
COUNTS = np.random.default_rng(1).integers(0, 3, len(LABELS))
FEW = {"shots": (8,), "n_draws": 1, "n_groups": 2, "random_state": 0}
# random features are centred over X; what fit learns of a prior is drawn per row
PLAIN = {"baselines": ("raw", "no labels"), "probe": LinearProbe(prior=None)}


def quick():
    return MultiTaskReLURepresentation(8, algorithm="one_step", random_state=0)


def learn_settings(X, y, estimator=None, **parameters):
    found = calibrate(estimator or quick(), X, y, **FEW | parameters)
    return np.array([*found.weights[0], *found.C, *found.reached.log_loss[0]])


def measure_transfer(X, y, estimator=None, **parameters):
    parameters = FEW | PLAIN | parameters
    return source_task_transfer(estimator or quick(), X, y, **parameters)["score"]


def measure_probes(X, y, **parameters):
    representation = quick().fit(*make_subspace_tasks(100, 8, random_state=0)[:2])
    parameters = FEW | {"baselines": "raw"} | parameters
    parameters.pop("n_groups")
    return probe_new_tasks(representation, X, y, **parameters)["score"]


TOOLS = [learn_settings, measure_transfer, measure_probes]


@pytest.mark.parametrize("tool", TOOLS)
def test_rows_are_repeated_inputs(tool):
    expected = tool(X[ROWS], LABELS, tasks=TASKS)
    assert len(expected) > 2
    found = tool(X, LABELS, tasks=TASKS, rows=ROWS)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("tool", TOOLS)
def test_whole_weights_are_repeated_entries(tool):
    again = np.repeat(np.arange(len(LABELS)), COUNTS)
    expected = tool(X[ROWS[again]], LABELS[again], tasks=TASKS[again])
    for inputs, rows in ((X[ROWS], None), (X, ROWS)):
        found = tool(inputs, LABELS, tasks=TASKS, rows=rows, sample_weight=COUNTS)
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("tool", TOOLS)
def test_rows_of_weight_0_are_absent(tool):
    kept = np.arange(N) % 4 > 0
    expected = tool(X[kept], Y[kept])
    wrong = np.where(kept[:, None], Y, 7.0)  # a class that nothing else has
    found = tool(X, wrong, sample_weight=kept.astype(int))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("tool", [learn_settings, measure_probes])
@pytest.mark.parametrize("rows", [ROWS, None])
def test_missing_labels_of_the_long_forms_are_of_weight_0(tool, rows):
    kept = np.arange(len(LABELS)) % 4 > 0
    form = {"tasks": TASKS, "rows": rows}
    inputs = X[ROWS] if rows is None else X
    expected = tool(inputs, LABELS, sample_weight=kept.astype(int), **form)
    found = tool(inputs, np.where(kept, LABELS, np.nan), **form)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("tool", [measure_transfer, measure_probes])
def test_copies_of_a_row_are_held_out_together(tool):
    counts = np.arange(N) % 3
    again = np.repeat(np.arange(N), counts)
    known = {"groups_of_tasks": [0, 0, 0, 1, 1, 1]} if tool is measure_transfer else {}
    copies = [f"{row:03}" for row in again]
    expected = tool(X[again], Y[again], groups=copies, **known)
    found = tool(X, Y, sample_weight=counts, **known)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_probes_of_many_tasks_in_the_long_form():
    """Labels of a task are split as rows are, where no input has two of them."""
    order = np.lexsort((ROWS, TASKS))
    long = ROWS[order], TASKS[order]
    found = measure_probes(X, Y[long], tasks=long[1], rows=long[0])
    assert len(found) == len(measure_probes(X, Y))
    some = np.arange(N) % 2 == 0
    expected = measure_probes(X, Y, test_rows=some)
    found = measure_probes(X, Y[long], tasks=long[1], rows=long[0], test_rows=some)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("tool", [learn_settings, measure_transfer])
def test_pipelines_and_sparse_inputs_see_each_input_once(tool):
    seen = []

    class Spy(MaxAbsScaler):
        def fit(self, X, y=None):
            seen.append(X.shape[0])
            assert issparse(X)
            return super().fit(X, y)

    parameters = {"tasks": TASKS, "rows": ROWS}
    tool(csr_array(X), LABELS, estimator=make_pipeline(Spy(), quick()), **parameters)
    assert seen[0] == N  # looks at what the pipeline makes of a few rows
    assert 0 < max(seen[1:]) <= 0.75 * N


def test_pipelines_in_pipelines():
    single, nested = quick(), make_pipeline(MaxAbsScaler(), make_pipeline(quick()))
    single = make_pipeline(MaxAbsScaler(), single)
    parameters = {"tasks": TASKS, "rows": ROWS, "cv": 2}
    expected = cross_val_predict(single, X, LABELS, **parameters)
    found = cross_val_predict(nested, X, LABELS, **parameters)
    np.testing.assert_array_equal(found, expected)


def test_estimators_that_take_no_rows_get_repeated_inputs():
    images, y, tasks, *_ = make_patch_tasks(40, n_tasks=4, random_state=0)
    estimator = ConvMultiTaskClassifier(4, max_iter=1, random_state=0)
    rows = np.random.default_rng(0).permutation(len(y))
    parameters = FEW | {"shots": (4,), "groups_of_tasks": [[0, 1], [2, 3]]}
    expected = calibrate(estimator, images[rows], y, tasks=tasks, **parameters)
    found = calibrate(estimator, images, y, tasks=tasks, rows=rows, **parameters)
    assert found == expected


@pytest.mark.parametrize("tool", TOOLS)
def test_many_tasks_of_the_long_form_take_no_table(tool, monkeypatch):
    tasks = np.repeat(np.arange(101), 40)
    rows = np.random.default_rng(0).integers(0, N, len(tasks))
    labels = (X[rows, tasks % 8] > 0).astype(int)
    sources = read_sources(X, labels, tasks, None, rows)
    assert sources.signs.nnz == len(labels)
    parameters = {"tasks": tasks, "rows": rows}
    if tool is not learn_settings:
        parameters |= {"probe": GaussianNB(), "baselines": ()}
    found = tool(X, labels, **parameters)
    assert len(found) > 6
    monkeypatch.setattr(of_signs, "MIN_TASKS", 1000)
    assert isinstance(read_sources(X, labels, tasks, None, rows).signs, np.ndarray)
    np.testing.assert_array_equal(found, tool(X, labels, **parameters))


# --- cross_val_predict ---


def predict(X, y, cv=None, **parameters):
    return cross_val_predict(quick(), X, y, cv=cv, **parameters)


def thirds(rows):
    """Folds of rows, or of their copies."""
    return [
        (np.flatnonzero(rows % 3 != k), np.flatnonzero(rows % 3 == k))
        for k in (0, 1, 2)
    ]


@pytest.mark.parametrize("cv", [None, 3])
def test_predictions_for_inputs_with_their_labels_apart(cv):
    long = predict(X[ROWS], LABELS, cv, tasks=TASKS)
    lonely = np.full((2, 8), 9.0)  # inputs without labels
    found = predict(np.r_[X, lonely], LABELS, cv, tasks=TASKS, rows=ROWS)
    assert found.shape == (N + 2, 6)
    assert np.isfinite(found).all()
    found = predict(X, LABELS, cv, tasks=TASKS, rows=ROWS)
    np.testing.assert_allclose(found[ROWS], long, rtol=1e-9)


@pytest.mark.parametrize("form", [list, pd.Series, pl.Series])
def test_weights_of_predictions_are_repeated_entries(form):
    again = np.repeat(np.arange(len(LABELS)), COUNTS)
    expected = predict(
        X[ROWS[again]], LABELS[again], thirds(ROWS[again]), tasks=TASKS[again]
    )
    parts = (form(part.tolist()) for part in (LABELS, TASKS, ROWS, COUNTS))
    y, tasks, rows, sample_weight = parts
    found = predict(
        X, y, thirds(np.arange(N)), tasks=tasks, rows=rows, sample_weight=sample_weight
    )
    np.testing.assert_allclose(found[ROWS[again]], expected, rtol=1e-9)


def test_weights_of_rows_reach_fit():
    counts = np.arange(N) % 5
    again = np.repeat(np.arange(N), counts)
    expected = predict(X[again], Y[again], thirds(again))
    found = predict(X, Y, thirds(np.arange(N)), sample_weight=counts)
    np.testing.assert_allclose(found[again], expected, rtol=1e-9)
    assert np.isfinite(found).all()  # of rows of weight 0, too
    of_class = np.where(np.arange(N) % 5 == 0, 7, Y[:, 0])
    of_class[np.isnan(of_class)] = 0
    found = predict(X, of_class, thirds(np.arange(N)), sample_weight=counts)
    assert found.shape == (N, 2)  # the class 7 is not there


def test_copies_of_an_input_in_different_rows_are_predicted_together():
    seen = []

    class Spy(MultiTaskReLURepresentation):
        def fit(self, X, y, tasks=None, rows=None):
            seen.append({row.tobytes() for row in X})
            return super().fit(X, y, tasks, rows)

    doubled = np.repeat(X, 2, axis=0)
    spy = Spy(8, algorithm="one_step", random_state=0)
    cross_val_predict(spy, doubled, LABELS, tasks=TASKS, rows=2 * ROWS + TASKS % 2)
    assert len(seen) == 5
    assert all(len(inputs) == 160 for inputs in seen)


@pytest.mark.parametrize("n_labels", [N - 1, N, N + 50])
def test_tasks_of_many_labels_have_them_at_their_rows(n_labels, monkeypatch):
    monkeypatch.setattr(_map_logistic, "MAX_DUAL", 10)
    rows = np.sort(np.random.default_rng(2).integers(0, N, n_labels))
    y, tasks = (X[rows, 0] > 0).astype(int), np.zeros(n_labels, int)
    found = LinearProbe().fit(X, y, tasks=tasks, rows=rows)
    expected = LinearProbe().fit(X[rows], y, tasks=tasks)
    np.testing.assert_allclose(found.predict_proba(X), expected.predict_proba(X))


def test_groups_without_labels_on_test_rows_say_nothing_of_the_prior():
    signs = csc_array(np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], dtype=np.int8))
    is_fresh = np.array([False, False, True, True])
    mean = np.arange(4.0)
    for tasks, n_found in (([0], 0), ([1], 2)):
        found = _calibration._labels_left_out(
            mean, signs, np.array(tasks), is_fresh, (0.5, 2.0)
        )
        assert [len(part) for part in found] == [n_found] * 3
    shared, positive, task = found
    assert shared.tolist() == [0.75, 1.25]
    assert positive.tolist() == [True, False]
    assert task.tolist() == [1, 1]


@pytest.mark.parametrize("rows", [None, []])
def test_probes_of_the_long_form_need_a_task(rows):
    with pytest.raises(ValueError, match=r"tasks holds no id.* empty y, classes="):
        LinearProbe().fit(X[: 0 if rows is None else 5], [], None, [0, 1], [], rows)


def test_labels_of_tasks_that_no_group_has_are_counted():
    y, tasks = np.r_[LABELS, [1, 1, 1]], np.r_[TASKS, [9, 9, 9]]
    sources = read_sources(X[np.r_[ROWS, [0, 1, 2]]], y, tasks)
    (entry,) = sources.list_unusable((8,), 1)
    assert entry["task"] == 9
    assert entry["reason"].startswith("3 positive and 0 negative labels")
