"""Responses at positions, and what each position adds to a score."""

import numpy as np
import pytest
from conv_cases import images_of_bars, make, rows_of_patches
from sklearn.exceptions import NotFittedError

from mtrl_sklearn._conv.patches import PatchGrid

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def data(kind):
    X, y, tasks = images_of_bars()
    X = X.astype(float)
    if kind == "patches":
        return rows_of_patches()
    return (X[:, 0].reshape(90, -1) if kind == "signals" else X), y, tasks


@pytest.mark.parametrize("kind", ["images", "signals", "patches"])
@pytest.mark.parametrize("pooling", ["sum", "mean", 2, "auto"])
@pytest.mark.parametrize("power", [1, 2])
def test_maps_pool_to_the_features(kind, pooling, power):
    X, y, _ = data(kind)
    model = make(pooling=pooling, power=power, max_iter=3).fit(X, y)
    grid = model._patch_grid()
    maps = model.feature_maps(X)
    assert maps.shape == (len(X), 12, *grid.positions)
    assert (maps >= 0).all()
    pooled = np.einsum(
        "ch,nrh->ncr", grid.pooling_matrix(), maps.reshape(len(X), 12, -1)
    )
    features = model.transform(X)
    np.testing.assert_allclose(pooled.reshape(features.shape), features, rtol=1e-10)


def test_a_map_is_the_filter_at_each_place():
    X, y, _ = data("images")
    model = make(kernel_size=(3, 2), stride=(2, 1), max_iter=3).fit(X, y)
    maps = model.feature_maps(X[:2])
    assert maps.shape == (2, 12, 4, 7)
    patch = X[1, :, 4:7, 3:5] / model.scale_
    expected = np.maximum((patch * model.filters_[5]).sum() + model.biases_[5], 0)
    assert maps[1, 5, 2, 3] == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("kind", ["images", "signals", "patches"])
@pytest.mark.parametrize("head", ["shared", "fixed", "per_task"])
@pytest.mark.parametrize("pooling", ["auto", 2])
def test_evidence_sums_to_the_scores(kind, head, pooling):
    X, y, tasks = data(kind)
    model = make(head=head, pooling=pooling).fit(X, y, tasks)
    found = model.evidence(X, tasks)
    n_scores = 1 if kind == "patches" else 3
    assert found.shape == (len(X), n_scores, *model._patch_grid().positions)
    sums = found.reshape(len(X), n_scores, -1).sum(axis=2)
    intercept = model.head_intercept_
    if head == "per_task":
        intercept = intercept[np.searchsorted(model.tasks_, tasks)]
    scores = model.decision_function(X, tasks).reshape(len(X), -1)
    np.testing.assert_allclose(sums + intercept, scores, rtol=1e-9, atol=1e-9)


def test_blocks_of_rows_keep_their_heads(monkeypatch):
    X, y, tasks = data("images")
    model = make(head="per_task", max_iter=3).fit(X, y, tasks)
    whole = model.evidence(X, tasks)
    monkeypatch.setattr(PatchGrid, "block_rows", lambda self, n_filters: 7)
    np.testing.assert_allclose(model.evidence(X, tasks), whole, rtol=1e-9, atol=1e-12)


def test_evidence_lies_where_the_bar_is():
    X, y, _ = data("images")
    X -= X.mean()
    model = make(max_iter=60, pooling=1, kernel_size=3).fit(X, y)
    # what sets class 1 apart is a bright bar in the second channel, rows 3 and 4
    share = np.abs(model.evidence(X[y == 1])[:, 1]).sum(axis=(0, 2))
    assert share[2:5].sum() > 0.6 * share.sum()
    assert model.feature_maps(X).dtype == np.float64
    assert model.feature_maps(X.astype(np.float32)).dtype == np.float32
    assert model.evidence(X.astype(np.float32)).dtype == np.float32
    assert model.evidence(X[:0]).shape == (0, 3, 7, 6)


def test_what_has_no_maps_is_refused():
    X, y, tasks = data("images")
    with pytest.raises(NotFittedError):
        make().feature_maps(X)
    model = make(head="per_task", max_iter=2).fit(X, y, tasks)
    for call, words in [
        (lambda: model.evidence(X), "head='per_task' needs tasks"),
        (lambda: model.evidence(X, tasks[:3]), "tasks has 3 ids for 90 rows"),
        (lambda: model.evidence(X, tasks + 1), "without a head"),
        (lambda: model.feature_maps(X[:, :1]), r"shape \(1, 9, 8\)"),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
