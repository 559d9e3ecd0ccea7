"""Signs of labels: counts, choices and scores agree in both forms."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.metrics import roc_auc_score

from mtrl_sklearn._labels import roc_auc as _roc_auc
from mtrl_sklearn._labels import signs as _signs
from mtrl_sklearn._labels.roc_auc import mean_roc_auc, pair_roc_auc
from mtrl_sklearn._labels.signs import (
    count_signs,
    keep_tasks,
    labels_per_row,
    pack_signs,
    place_signs,
)
from mtrl_sklearn.metrics import masked_roc_auc


def draw_signs(n_samples, n_tasks, share_observed, seed=0):
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1, 1], (n_samples, n_tasks)).astype(np.int8)
    signs[rng.random(signs.shape) > share_observed] = 0
    return signs


def tied_scores(shape, seed=1):
    return np.random.default_rng(seed).integers(0, 6, shape) / 4


@pytest.fixture(params=[1, 100, 2**20])
def block_bytes(request, monkeypatch):
    monkeypatch.setattr(_signs, "BLOCK_BYTES", request.param)


@pytest.fixture(params=[1, 100, 2**20])
def sorted_labels(request, monkeypatch):
    monkeypatch.setattr(_roc_auc, "SORTED_LABELS", request.param)


SHAPES = [(50, 30), (7, 1), (0, 4)]


@pytest.mark.parametrize("form", [np.asarray, np.asfortranarray, csr_array])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("block_bytes")
def test_labels_are_counted_per_task_and_per_row(form, shape):
    signs = draw_signs(*shape, 0.4)
    n_positive, n_negative = count_signs(form(signs))
    np.testing.assert_array_equal(n_positive, (signs > 0).sum(axis=0))
    np.testing.assert_array_equal(n_negative, (signs < 0).sum(axis=0))
    per_row = labels_per_row(form(signs))
    np.testing.assert_array_equal(per_row, (signs != 0).sum(axis=1))
    assert {a.dtype for a in (n_positive, n_negative, per_row)} == {np.dtype(np.int64)}


@pytest.mark.parametrize("form", [np.asarray, csr_array])
@pytest.mark.parametrize("shape", SHAPES)
def test_signs_of_other_tasks_are_dropped(form, shape):
    signs = draw_signs(*shape, 0.4)
    usable = np.arange(shape[1]) % 3 == 1
    kept = keep_tasks(form(signs), usable)
    dense = kept if isinstance(kept, np.ndarray) else kept.toarray()
    np.testing.assert_array_equal(dense, np.where(usable, signs, 0))
    assert kept.dtype == np.int8
    if form is csr_array:
        assert (kept.data != 0).all()
        assert kept.has_canonical_format
    same = form(signs)
    assert keep_tasks(same, np.ones(shape[1], dtype=bool)) is same


def test_few_labels_of_many_tasks_are_packed():
    few, many = draw_signs(60, 200, 0.005), draw_signs(60, 200, 0.05)
    packed = pack_signs(few)
    assert isinstance(packed, csr_array)
    assert packed.dtype == np.int8
    np.testing.assert_array_equal(packed.toarray(), few)
    assert pack_signs(many) is many
    assert isinstance(pack_signs(few[:, :20]), np.ndarray)


@pytest.mark.parametrize("share_observed", [0.005, 0.3])
@pytest.mark.parametrize("sparse", [True, False])
def test_labels_find_their_places_in_any_order(share_observed, sparse):
    signs = draw_signs(50, 150, share_observed)
    rows, tasks = np.random.default_rng(2).permutation(np.argwhere(signs)).T
    placed = place_signs(signs[rows, tasks], rows, tasks, signs.shape, sparse)
    assert placed.dtype == np.int8
    if sparse and share_observed < 0.01:
        assert placed.has_canonical_format
        placed = placed.toarray()
    np.testing.assert_array_equal(placed, signs)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.usefixtures("sorted_labels")
def test_roc_auc_of_pairs_is_that_of_each_task(weighted, dtype):
    signs = draw_signs(80, 12, 0.5)
    signs[:, 0], signs[:, 1] = 0, abs(signs[:, 1])
    scores = tied_scores(signs.shape).astype(dtype)
    rng = np.random.default_rng(2)
    # weights of other tasks, however large, do not blur those of one
    weights = rng.random(signs.shape) * 10.0 ** rng.integers(-9, 10, 12)
    rows, tasks = rng.permutation(np.argwhere(signs)).T
    got = pair_roc_auc(
        tasks,
        signs[rows, tasks],
        scores[rows, tasks],
        12,
        weights[rows, tasks] if weighted else None,
    )
    assert np.isnan(got[:2]).all()
    for k in range(2, 12):
        seen = signs[:, k] != 0
        weight = weights[seen, k] if weighted else None
        expected = roc_auc_score(signs[seen, k], scores[seen, k], sample_weight=weight)
        assert got[k] == pytest.approx(expected, abs=1e-12)
    if not weighted:
        np.testing.assert_array_equal(got, masked_roc_auc(signs, scores))


def test_roc_auc_is_undefined_where_a_class_has_no_weight():
    tasks, signs = np.array([0, 0, 1, 1, 1]), np.array([1, -1, 1, -1, -1])
    scores, weights = np.array([1, 0, 1, 0, 2]), np.array([1, 0, 1, 3, 1])
    auc = pair_roc_auc(tasks, signs, scores, 3, weights)
    np.testing.assert_allclose(auc, [np.nan, 0.75, np.nan])
    nothing = np.empty(0, dtype=int)
    assert np.isnan(pair_roc_auc(nothing, nothing, nothing, 2)).all()


def test_scores_that_are_nan_are_refused():
    with pytest.raises(ValueError, match="1 scores of observed labels are NaN"):
        pair_roc_auc(np.zeros(2, int), np.array([1, -1]), np.array([0, np.nan]), 1)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.usefixtures("sorted_labels")
def test_mean_roc_auc_is_the_same_in_both_forms(weighted):
    signs = draw_signs(90, 40, 0.05)
    scores = tied_scores(signs.shape)
    weights = np.random.default_rng(3).random(90) if weighted else np.ones(90)
    usable = (signs > 0).any(axis=0) & (signs < 0).any(axis=0)
    assert not usable.all()
    expected = [
        roc_auc_score(s[s != 0], f[s != 0], sample_weight=weights[s != 0])
        for s, f in zip(signs.T[usable], scores.T[usable])
    ]
    packed, of_label = csr_array(signs), scores[np.nonzero(signs)]
    for got in (
        mean_roc_auc(signs, scores, weights if weighted else None),
        mean_roc_auc(packed, of_label, weights if weighted else None),
    ):
        assert got == pytest.approx(np.mean(expected), abs=1e-12)
    assert np.isnan(mean_roc_auc(csr_array((3, 2), dtype=np.int8), np.empty(0)))
