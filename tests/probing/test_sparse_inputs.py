"""Sparse inputs: every tool says of them what it says of the same array."""

import numpy as np
import pandas as pd
import pytest
from memory import growth_of_memory, needs_status
from scipy import sparse
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, OneHotEncoder

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn._arrays.block_scale import block_scale
from mtrl_sklearn._arrays.centred import SideBySide, centre
from mtrl_sklearn._training.random_features import random_features
from mtrl_sklearn.probing import (
    LinearProbe,
    calibrate,
    probe_new_tasks,
    source_task_transfer,
    task_affinity,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
CLOSE = {"rtol": 0, "atol": 1e-6}


@pytest.fixture(scope="module")
def data():
    """Counts of words, two of which are everywhere, and labels of 8 tasks."""
    rng = np.random.default_rng(0)
    X = rng.poisson(0.15, (260, 30)).astype(float)
    X[:, 0], X[:, 1] = 7.0, rng.uniform(99, 101, len(X))
    hidden = np.maximum(X[:, 2:] @ rng.standard_normal((28, 6)), 0)
    scores = hidden @ rng.standard_normal((6, 8))
    return X, (scores > np.median(scores, axis=0)).astype(float)


@pytest.fixture(scope="module")
def relu(data):
    X, Y = data
    network = MultiTaskReLURepresentation(8, max_iter=10, random_state=0)
    return network.fit(X, Y[:, :6])


def swapped(X):
    """CSR whose parts are all in the other byte order."""
    matrix = sparse.csr_array(X)
    for part in ("data", "indices", "indptr"):
        array = getattr(matrix, part)
        setattr(matrix, part, array.astype(array.dtype.newbyteorder()))
    return matrix


def wide_indices(X):
    matrix = sparse.csr_array(X)
    matrix.indices = matrix.indices.astype(np.int64)
    matrix.indptr = matrix.indptr.astype(np.int64)
    return matrix


def in_two_parts(X):
    """COO that stores half of each entry twice."""
    coo = sparse.coo_array(X / 2)
    places = tuple(np.tile(places, 2) for places in coo.coords)
    return sparse.coo_array((np.tile(coo.data, 2), places), shape=X.shape)


FORMS = {
    "csr": sparse.csr_array,
    "csc": sparse.csc_matrix,
    "coo": sparse.coo_array,
    "dok": sparse.dok_array,
    "in two parts": in_two_parts,
    "int64 indices": wide_indices,
    "other byte order": swapped,
    "frame": lambda X: pd.DataFrame.sparse.from_spmatrix(sparse.csr_array(X)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("has_network", [False, True])
def test_probes_of_all_forms_are_those_of_the_array(data, relu, form, has_network):
    X, Y = data
    representation = relu if has_network else None
    few = FORMS[form](X[:40])
    dense = LinearProbe(representation).fit(X[:40], Y[:40, 6])
    probe = LinearProbe(representation).fit(few, Y[:40, 6])
    for name, coef in dense.coef_.items():
        np.testing.assert_allclose(probe.coef_[name], coef, **CLOSE)
    rows = FORMS[form](X)
    np.testing.assert_allclose(
        probe.predict_proba(rows), dense.predict_proba(X), **CLOSE
    )
    assert probe.score(rows, Y[:, 6]) == dense.score(X, Y[:, 6])
    np.testing.assert_array_equal(FORMS[form](X).shape, rows.shape)


LABELS = {
    "few": lambda Y: (slice(20), Y[:20, 6]),
    "columns": lambda Y: (slice(90), Y[:90, 6:]),
    "classes": lambda Y: (slice(260), Y[:, 5] + Y[:, 6]),
    "classes of few": lambda Y: (slice(15), (Y[:, 5] + Y[:, 6])[:15]),
}


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("at_most", [1000, 10], ids=["dual", "primal"])
def test_probes_of_all_labels(data, relu, labels, at_most, monkeypatch):
    for module in ("_map_logistic", "_ridge_logistic"):
        monkeypatch.setattr(f"mtrl_sklearn.probing.{module}.MAX_DUAL", at_most)
    X, Y = data
    rows, y = LABELS[labels](Y)
    weights = np.random.default_rng(1).integers(1, 4, len(y))
    sparse_X = sparse.csr_array(X)
    for representation in (None, relu):
        dense = LinearProbe(representation).fit(X[rows], y, sample_weight=weights)
        probe = LinearProbe(representation).fit(
            sparse_X[rows], y, sample_weight=weights
        )
        expected = dense.decision_function(X)
        np.testing.assert_allclose(probe.decision_function(sparse_X), expected, **CLOSE)


def test_many_rows_are_solved_as_few_are(data, monkeypatch):
    """The same problem in coefficients and in coordinates of the rows."""
    X, Y = data
    y = (Y[:, 5] + Y[:, 6])[:25]
    few = LinearProbe().fit(X[:25], y)
    monkeypatch.setattr("mtrl_sklearn.probing._ridge_logistic.MAX_DUAL", 10)
    many = LinearProbe().fit(X[:25], y)
    np.testing.assert_allclose(
        many.decision_function(X), few.decision_function(X), **CLOSE
    )


def test_fine_tuning_sees_the_same_rows(data):
    X, Y = data[0][:, 2:], data[1]  # large constants make rounding errors grow
    relu = MultiTaskReLURepresentation(8, max_iter=10, random_state=0)
    relu.fit(X, Y[:, :6])
    few, y = X[:60], Y[:60, 6]
    dense = LinearProbe(relu, fine_tune=True).fit(few, y)
    probe = LinearProbe(relu, fine_tune=True).fit(sparse.csr_array(few), y)
    assert not np.allclose(probe.first_layer_["hidden_weights_"], relu.hidden_weights_)
    np.testing.assert_allclose(
        probe.predict_proba(sparse.coo_array(X)), dense.predict_proba(X), **CLOSE
    )


def test_no_rows(data, relu):
    X, _ = data
    nothing = sparse.csr_array((0, X.shape[1]))
    for representation in (None, relu):
        probe = LinearProbe(representation).fit(nothing, [], classes=[0, 1])
        assert probe.predict_proba(sparse.csr_array(X)).shape == (len(X), 2)
        assert probe.predict_proba(nothing).shape == (0, 2)


@pytest.mark.parametrize("form", ["coo", "other byte order", "frame"])
def test_measures_are_those_of_the_array(data, relu, form):
    X, Y = data
    rows = FORMS[form](X)
    given = {"shots": (0, 8, 16), "n_draws": 2, "random_state": 0}
    expected = probe_new_tasks(relu, X, Y[:, 6:], **given)
    assert set(expected.features) == {"representation", "raw", "random", "no labels"}
    table = probe_new_tasks(relu, rows, Y[:, 6:], **given)
    pd.testing.assert_frame_equal(table, expected, rtol=0, atol=1e-6)
    affinity = task_affinity(relu, rows)
    np.testing.assert_allclose(affinity, task_affinity(relu, X), **CLOSE)


def test_other_probes_see_sparse_inputs(data):
    """Those that cannot be fitted to one class, too."""
    X, Y = data
    unchanged = MaxAbsScaler().fit(X)
    given = {"shots": (2, 8), "n_draws": 2, "random_state": 0}
    probe = LogisticRegression(tol=1e-10, max_iter=10_000)
    given |= {"probe": probe, "baselines": ("raw", "random")}
    expected = probe_new_tasks(unchanged, X, Y[:, 6:], **given)
    table = probe_new_tasks(unchanged, sparse.csc_array(X), Y[:, 6:], **given)
    pd.testing.assert_frame_equal(table, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("form", ["csc", "frame"])
@pytest.mark.parametrize("measure", [calibrate, source_task_transfer])
def test_networks_are_trained_on_sparse_rows(data, measure, form):
    X, Y = data
    network = MultiTaskReLURepresentation(8, max_iter=8, random_state=0)
    given = {"shots": (8,), "n_draws": 1, "n_groups": 2, "random_state": 0}
    expected, found = (
        measure(network, rows, Y, **given) for rows in (X, FORMS[form](X))
    )
    if measure is calibrate:
        np.testing.assert_allclose(found.weights, expected.weights, **CLOSE)
        np.testing.assert_allclose(found.C, expected.C, rtol=1e-6)
        assert found.prior.slope == pytest.approx(expected.prior.slope, abs=1e-6)
    else:
        pd.testing.assert_frame_equal(found, expected, rtol=0, atol=1e-6)


def test_pipelines_may_end_in_sparse_output(data):
    X, Y = data
    words = pd.DataFrame(X[:, 2:6].clip(max=2)).astype(int).astype(str)
    columns = [("words", OneHotEncoder(handle_unknown="ignore"), [0, 1, 2, 3])]
    network = MultiTaskReLURepresentation(8, max_iter=8, random_state=0)

    def head(threshold):
        encoder = ColumnTransformer(columns, sparse_threshold=threshold)
        encoder.set_output(transform="default")
        return encoder

    pipes = [make_pipeline(head(t), network).fit(words, Y[:, :6]) for t in (0, 1)]
    assert sparse.issparse(pipes[1][0].transform(words))
    probes = [LinearProbe(pipe).fit(words[:40], Y[:40, 6]) for pipe in pipes]
    dense, found = (probe.predict_proba(words) for probe in probes)
    np.testing.assert_allclose(found, dense, **CLOSE)
    given = {"shots": (8,), "n_draws": 2, "random_state": 0}
    given |= {"scoring": "neg_log_loss"}  # equal rows would be ranked by their rounding
    expected, table = (probe_new_tasks(p, words, Y[:, 6:], **given) for p in pipes)
    pd.testing.assert_frame_equal(table, expected, rtol=0, atol=1e-6)
    # features themselves are sparse
    encoder = pipes[1][0]
    probe = LinearProbe(encoder).fit(words[:40], Y[:40, 6])
    plain = LinearProbe(pipes[0][0]).fit(words[:40], Y[:40, 6])
    np.testing.assert_allclose(probe.coef_["hidden"], plain.coef_["hidden"], **CLOSE)


def test_names_of_sparse_frames_are_checked(data, relu):
    X, Y = data
    frame = pd.DataFrame.sparse.from_spmatrix(sparse.csr_array(X)).add_prefix("w")
    probe = LinearProbe().fit(frame, Y[:, 6])
    assert probe.feature_names_in_.tolist() == [f"w{k}" for k in range(30)]
    with pytest.raises(ValueError, match="feature names"):
        probe.predict(frame[frame.columns[::-1]])


# ------------------------------------------------------------ the numbers beneath


def blocks():
    rng = np.random.default_rng(0)
    X = rng.poisson(0.4, (30, 9)) * rng.standard_normal((30, 9))
    X[:, 0], X[:, 1] = 1e6, 1e6 + np.arange(30)
    X[:, 2] = 0
    return X, sparse.csr_array(X), rng.integers(1, 4, 30).astype(float)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_scale_of_a_block(dtype):
    X, rows, weights = blocks()
    X, rows = X.astype(dtype), rows.astype(dtype)
    for of_rows in (None, weights):
        assert block_scale(rows, of_rows) == pytest.approx(
            block_scale(X, of_rows), rel=1e-12
        )
    same = np.full((4, 3), 0.1, dtype) * np.array([1, 0, 1], dtype)
    assert block_scale(sparse.csr_array(same)) == np.inf
    assert block_scale(sparse.csr_array((4, 3), dtype=dtype)) == np.inf


def test_products_of_centred_blocks():
    X, rows, weights = blocks()
    rng = np.random.default_rng(1)
    other = rng.standard_normal((30, 4))
    Z = (X - np.average(X, axis=0, weights=weights)) / 2.0
    Z = np.hstack([Z, (other - np.average(other, axis=0, weights=weights)) / 3.0])
    pair = SideBySide([centre(rows, 2.0, weights), centre(other, 3.0, weights)])
    assert pair.shape == Z.shape
    right, left = rng.standard_normal((13, 2)), rng.standard_normal((3, 30))
    close = {"rtol": 1e-9, "atol": 1e-9}
    np.testing.assert_allclose(pair @ right, Z @ right, **close)
    np.testing.assert_allclose(pair @ right[:, 0], Z @ right[:, 0], **close)
    np.testing.assert_allclose(left @ pair, left @ Z, **close)
    np.testing.assert_allclose(left[0] @ pair, left[0] @ Z, **close)
    np.testing.assert_allclose(pair.products(), Z @ Z.T, **close)


def test_random_features_come_in_parts(monkeypatch):
    X, rows, _ = blocks()
    X[:, 1], rows = 0, sparse.csr_array(np.where(np.arange(9) == 1, 0, X))
    whole = random_features(X, 7, seed=0)
    W = np.random.default_rng(0).standard_normal((7, 9))
    expected = np.maximum((X - X.mean(axis=0)) @ W.T, 0)
    monkeypatch.setattr("mtrl_sklearn._arrays.rows.LARGE_BLOCK_ENTRIES", 27)
    for found in (whole, random_features(X, 7, seed=0), random_features(rows, 7, 0)):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@needs_status
def test_no_array_of_all_inputs_is_made():
    """Dense inputs would take 320 MB, these take 2."""
    rng = np.random.default_rng(0)
    X = sparse.random_array((2000, 20_000), density=0.005, format="csr", rng=rng)
    Y = (X[:, :4000] @ rng.standard_normal((4000, 4)) > 0).astype(int)
    network = MultiTaskReLURepresentation(8, max_iter=1, batch_size=500, random_state=0)
    network.fit(X[:500], Y[:500])
    given = {"shots": (64,), "n_draws": 1, "random_state": 0}
    probe_new_tasks(network, X, Y, **given)  # what is imported late is not counted
    with growth_of_memory() as growth:
        probe_new_tasks(network, X, Y, **given)
        LinearProbe(network).fit(X, Y[:, 0] + Y[:, 1]).predict_proba(X)
        calibrate(network, X, Y, n_groups=2, **given)
    assert growth.peak < 150e6
