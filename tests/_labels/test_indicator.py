"""Sparse labels: what is not stored is negative, everywhere where labels are read."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold

from mtrl_sklearn import MultiTaskReLURepresentation, load, save
from mtrl_sklearn._arrays import rows as _rows
from mtrl_sklearn._files.arrays import Refusal
from mtrl_sklearn._labels.indicator import Indicator, stack_indicators
from mtrl_sklearn._labels.roc_auc import indicator_roc_auc, mean_roc_auc
from mtrl_sklearn._labels.signs import (
    count_signs,
    keep_tasks,
    labels_per_row,
    sign_columns,
    sign_rows,
)
from mtrl_sklearn._relu.fitted_form import check_relu
from mtrl_sklearn.metrics import multitask_accuracy_score, multitask_roc_auc_score
from mtrl_sklearn.model_selection import cross_val_predict
from mtrl_sklearn.probing import (
    LinearProbe,
    calibrate,
    label_agreement,
    probe_new_tasks,
    source_task_transfer,
    task_affinity,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Sparse .* in beta state"),
]

RNG = np.random.default_rng(0)
X = RNG.standard_normal((120, 6))
SCORES = np.maximum(X @ RNG.standard_normal((6, 5)), 0) @ RNG.standard_normal((5, 7))
Y = (np.quantile(SCORES, 0.8, axis=0) < SCORES).astype(int)
FITTED = ("hidden_weights_", "task_coef_", "task_intercept_", "loss_curve_")


def relu(**parameters):
    given = {"max_iter": 4, "batch_size": 20, "random_state": 0} | parameters
    return MultiTaskReLURepresentation(6, **given)


def with_zeros(Y):
    """CSR that stores some zeros, and halves of one label."""
    coo = sparse.coo_array(Y)
    rows, columns = (np.append(places, [0, 1]) for places in coo.coords)
    data = np.append(coo.data, [0, 0])
    whole = sparse.coo_array((data, (rows, columns)), shape=Y.shape)
    return sparse.csr_array((whole.data, whole.coords), shape=Y.shape)


def other_bytes(Y):
    matrix = sparse.csr_array(Y)
    matrix.data = matrix.data.astype(matrix.dtype.newbyteorder())
    matrix.indices = matrix.indices.astype(np.int64)
    matrix.indptr = matrix.indptr.astype(np.int64)
    return matrix


FORMS = {
    "csr": sparse.csr_array,
    "csc": sparse.csc_matrix,
    "lil": sparse.lil_array,
    "bool": lambda Y: sparse.coo_array(Y.astype(bool)),
    "floats": lambda Y: sparse.csr_array(Y * 1.0),
    "stored zeros": with_zeros,
    "other bytes": other_bytes,
    "tensor": lambda Y: torch.from_numpy(Y).to_sparse_csr(),
    "frame": lambda Y: pd.DataFrame(Y).astype(pd.SparseDtype(int, 0)),
}


@pytest.mark.parametrize("form", FORMS)
def test_any_form_is_the_array_of_labels(form):
    given = FORMS[form](Y)
    dense, found = relu().fit(X, Y), relu().fit(X, given)
    for name in FITTED:
        np.testing.assert_array_equal(getattr(found, name), getattr(dense, name))
    predicted = found.predict(X)
    assert isinstance(predicted, sparse.csr_array)
    np.testing.assert_array_equal(predicted.toarray(), dense.predict(X))
    assert multitask_accuracy_score(given, predicted) == pytest.approx(
        multitask_accuracy_score(Y, dense.predict(X))
    )
    np.testing.assert_array_equal(found.n_positive_, Y.sum(axis=0))
    assert found.score(X, given) == pytest.approx(dense.score(X, Y), rel=1e-12)
    assert found.label_form_ == "wide"


@pytest.mark.parametrize("pos_label", [None, 0])
def test_predicted_labels_are_sparse_where_labels_were(
    monkeypatch, tmp_path, pos_label
):
    """Of few rows at a time, also from a file, and until the next fit."""
    given = sparse.csr_array(Y.astype(bool))
    parameters = {"algorithm": "one_step", "pos_label": pos_label}
    expected = relu(**parameters).fit(X, Y).predict(X)
    assert 0 < expected.mean() < 1
    save(relu(**parameters).fit(X, given, sample_weight=np.ones(120)), tmp_path / "m")
    found = load(tmp_path / "m")
    monkeypatch.setattr(_rows, "LARGE_BLOCK_ENTRIES", 70)
    monkeypatch.setattr(_rows, "BLOCK_ENTRIES", 50)
    predicted = found.predict(X)
    np.testing.assert_array_equal(predicted.toarray(), expected)
    assert predicted.dtype == bool
    assert found.predict(X[:0]).shape == (0, 7)
    edited = vars(found) | {"sparse_output_": 1}
    with pytest.raises(Refusal, match="sparse_output_"):
        check_relu({k: v for k, v in edited.items() if k[-1] == "_"})
    assert found.fit(X, Y).predict(X).tolist() == expected.tolist()


SOLVERS = {
    "joint": {"algorithm": "joint", "loss": "hinge"},
    "one step": {"algorithm": "one_step", "n_components": 2},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.3},
    "equal tasks": {"task_weight": "equal", "n_components": "auto"},
}


@pytest.mark.parametrize("solver", SOLVERS)
def test_all_solvers(solver):
    """A task without positive labels has no part in either form."""
    labels = Y * (np.arange(7) != 3)
    parameters = SOLVERS[solver]
    fits = []
    for given in (labels, sparse.csr_array(labels)):
        with pytest.warns(UserWarning, match="1 of 7 tasks"):
            fits.append(relu(**parameters).fit(X, given))
    dense, found = fits
    for name in FITTED:
        np.testing.assert_array_equal(getattr(found, name), getattr(dense, name))
    if parameters.get("early_stopping"):
        np.testing.assert_allclose(
            found.validation_scores_, dense.validation_scores_, rtol=1e-12
        )
    assert found.probe_prior_ == dense.probe_prior_


def test_partial_fit_and_going_on():
    dense, found = relu(), relu()
    for rows in (slice(60), slice(60, 120)):
        dense.partial_fit(X[rows], Y[rows], classes=[0, 1])
        found.partial_fit(X[rows], sparse.csr_array(Y[rows]), classes=[0, 1])
    np.testing.assert_array_equal(found.hidden_weights_, dense.hidden_weights_)
    np.testing.assert_array_equal(found.n_negative_, (1 - Y).sum(axis=0))
    # labels of either form go on from the other
    found.partial_fit(X, Y)
    dense.partial_fit(X, sparse.csr_array(Y))
    np.testing.assert_array_equal(found.hidden_weights_, dense.hidden_weights_)


def test_names_of_columns_are_matched():
    frame = FORMS["frame"](Y).set_axis(list("abcdefg"), axis=1)
    model = relu().fit(X, frame)
    assert model.task_names_.tolist() == list("abcdefg")
    turned = frame[frame.columns[::-1]]
    assert model.score(X, turned) == model.score(X, frame)
    with pytest.raises(ValueError, match="columns of y differ"):
        model.score(X, frame.rename(columns={"a": "z"}))


def test_frames_of_other_labels_are_read_by_column():
    """Entries that are missing, and several classes, are no indicator."""
    holes = np.where(np.arange(120)[:, None] % 3 == np.arange(7) % 3, np.nan, Y)
    frame = pd.DataFrame(holes).astype(pd.SparseDtype(float, np.nan))
    for given, expected in ((frame, holes), (FORMS["frame"](Y * 2 + 1), Y * 2 + 1)):
        found, dense = relu().fit(X, given), relu().fit(X, expected)
        np.testing.assert_array_equal(found.hidden_weights_, dense.hidden_weights_)
    stored = pd.DataFrame(np.where(Y, np.nan, 0)).astype(pd.SparseDtype(float, 0))
    with pytest.raises(ValueError, match="no usable task"):
        relu().fit(X, stored)


def with_value(value):
    changed = Y.astype(float)
    changed[3, 2] = value
    return sparse.csr_array(changed)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: with_value(2), r"y is sparse.*stores \[1.0, 2.0\].*y\.toarray\(\)"),
        (lambda: with_value(np.nan), r"y is sparse.*nan\].*y\.toarray\(\)"),
        (lambda: with_value(np.inf), r"y is sparse.*inf\]"),
        (lambda: sparse.csr_array(-Y), r"stores \[-1\]"),
        (lambda: sparse.csr_array((120, 7)), "no usable task"),
        (lambda: sparse.csr_array(Y[:-1]), "inconsistent numbers of samples"),
        (lambda: sparse.csr_array((120, 0)), r"y should be of shape.*\(120, 0\)"),
        (lambda: sparse.coo_array(Y[:, 0]), r"y should be of shape.*\(120,\)"),
    ],
)
def test_what_is_no_indicator_is_refused(make, words):
    model = relu().fit(X, Y)
    before = model.hidden_weights_
    with pytest.raises(ValueError, match=words):
        model.fit(X, make())
    assert model.hidden_weights_ is before


def twice(Y):
    """Each positive label stored two times."""
    places = np.tile(np.nonzero(Y), 2)
    return sparse.coo_array((np.ones(places.shape[1], int), tuple(places)), Y.shape)


@pytest.mark.parametrize(
    "make",
    [
        lambda: sparse.csr_array(Y * 2),
        lambda: sparse.csr_array(Y * 0.5),
        lambda: twice(Y),
        lambda: twice(Y).tocsc(),
        lambda: torch.sparse_coo_tensor(
            torch.tensor(np.array(twice(Y).coords)),
            torch.ones(2 * Y.sum()),
            Y.shape,
            check_invariants=True,
        ),
    ],
)
def test_positive_labels_are_1_once(make):
    given = make()
    model = relu().fit(X, Y)
    words = r"y.* is sparse.*stores \[(2|2.0|0.5)\].*Store 1 only, once for each label"
    for call in (model.fit, model.partial_fit, model.score, LinearProbe().fit):
        with pytest.raises(ValueError, match=words):
            call(X, given)
    with pytest.raises(ValueError, match=words):
        multitask_roc_auc_score(given, SCORES)


def test_the_long_form_is_not_sparse():
    ids = np.zeros(120, dtype=int)
    with pytest.raises(TypeError, match=r"y is sparse\. With tasks.*toarray"):
        relu().fit(X, sparse.csr_array(Y[:, :1]), ids)


# ---------------------------------------------------------------- scores and tools


@pytest.mark.parametrize("form", ["csr", "bool", "tensor", "frame"])
def test_metrics(form):
    given = FORMS[form](Y)
    per_task = multitask_roc_auc_score(given, SCORES + Y, average=None)
    np.testing.assert_allclose(per_task, roc_auc_score(Y, SCORES + Y, average=None))
    noisy = Y ^ (RNG.random(Y.shape) < 0.1)
    for pred in (noisy, FORMS[form](noisy), noisy.astype(object), noisy * 1.0):
        right = multitask_accuracy_score(given, pred, average=None)
        np.testing.assert_allclose(right, (noisy == Y).mean(axis=0))
    right = multitask_accuracy_score(Y, FORMS[form](noisy))
    assert right == pytest.approx((noisy == Y).mean())
    unsure = np.where(Y == 1, np.nan, Y)  # a missing prediction is wrong
    assert multitask_accuracy_score(given, unsure) == pytest.approx((Y == 0).mean())


def test_metrics_refuse_what_is_no_indicator():
    given = sparse.csr_array(Y)
    with pytest.raises(ValueError, match=r"y_true is sparse.*y_true\.toarray\(\)"):
        multitask_roc_auc_score(with_value(3), SCORES)
    with pytest.raises(ValueError, match="continuous"):
        multitask_accuracy_score(given, SCORES)
    with pytest.raises(ValueError, match="numbers and y_pred"):
        multitask_accuracy_score(given, Y.astype(str))
    with pytest.raises(ValueError, match="differ in shape"):
        multitask_roc_auc_score(given, SCORES[:, :3])


def test_out_of_fold_predictions_and_searches():
    given = sparse.csc_array(Y)
    cv, forms = KFold(3), (given, Y)
    found, dense = (cross_val_predict(relu(), X, labels, cv=cv) for labels in forms)
    np.testing.assert_array_equal(found, dense)
    searches = [GridSearchCV(relu(), {"loss": ["hinge"]}, cv=cv) for _ in forms]
    for search, labels in zip(searches, forms):
        search.fit(X, labels)
    found, dense = (search.best_score_ for search in searches)
    assert found == pytest.approx(dense)


def test_probes_and_measures():
    network = relu().fit(X, Y)
    given = sparse.csr_array(Y)
    probe, dense = (LinearProbe(network).fit(X, labels) for labels in (given, Y))
    np.testing.assert_array_equal(
        probe.decision_function(X), dense.decision_function(X)
    )
    assert probe.score(X, given) == dense.score(X, Y)
    one = LinearProbe().fit(X, given[:, [0]])
    assert one.predict_proba(X).shape == (120, 1)
    np.testing.assert_allclose(label_agreement(given), np.corrcoef(Y.T), atol=1e-12)
    np.testing.assert_allclose(
        task_affinity(network, Y=given), task_affinity(network, Y=Y), atol=1e-12
    )
    options = {"shots": (8,), "n_draws": 2, "random_state": 0}
    table, expected = (
        probe_new_tasks(network, X, labels, **options) for labels in (given, Y)
    )
    pd.testing.assert_frame_equal(table, expected)
    with pytest.warns(UserWarning, match="The table is empty"):
        assert len(probe_new_tasks(network, X, given, shots=500)) == 0


@pytest.mark.parametrize("measure", [calibrate, source_task_transfer])
def test_measures_that_train(measure):
    options = {"shots": (8,), "n_draws": 1, "n_groups": 2, "random_state": 0}
    found, expected = (
        measure(relu(), X, labels, **options) for labels in (sparse.csr_array(Y), Y)
    )
    if measure is calibrate:
        assert found == expected
    else:
        pd.testing.assert_frame_equal(found, expected)


# ------------------------------------------------------------------ the signs beneath

SIGNS = np.where(Y, 1, -1).astype(np.int8)


def indicator():
    return Indicator(sparse.csr_array(Y.astype(np.int8)))


def test_signs_and_their_counts():
    signs = indicator()
    np.testing.assert_array_equal(signs.toarray(), SIGNS)
    usable = np.arange(7) != 2
    kept = keep_tasks(signs, usable)
    for sparse_signs, expected in ((signs, SIGNS), (kept, SIGNS * usable)):
        np.testing.assert_array_equal(sparse_signs.toarray(), expected)
        for found, count in zip(count_signs(sparse_signs), count_signs(expected)):
            np.testing.assert_array_equal(found, count)
        np.testing.assert_array_equal(
            labels_per_row(sparse_signs), labels_per_row(expected)
        )
        columns = list(sign_columns(sparse_signs))
        np.testing.assert_array_equal(np.transpose(columns), expected)
        rows = np.array([3, 0, 3])
        np.testing.assert_array_equal(sparse_signs[rows].toarray(), expected[rows])
        np.testing.assert_array_equal(sparse_signs[rows, 1:4], expected[rows, 1:4])
        both = stack_indicators([sparse_signs[:50], sparse_signs[50:]])
        np.testing.assert_array_equal(both.toarray(), expected)
        batches = sign_rows(sparse_signs, torch.float32, positions=np.arange(5, 90))
        assert batches.width == 7
        for index in (slice(3, 9), torch.tensor([4, 0, 4])):
            taken = batches.take(index).numpy()
            np.testing.assert_array_equal(taken, expected[5:90][index])


def test_roc_auc_by_blocks_of_tasks(monkeypatch):
    monkeypatch.setattr("mtrl_sklearn._labels.roc_auc.SORTED_LABELS", 250)
    weights = RNG.random(120)
    asked = []

    def score(part):
        asked.append(part)
        return SCORES[:, part]

    noisy = SCORES.round(1)
    for given in (None, weights):
        expected = mean_roc_auc(SIGNS, noisy, given)
        assert mean_roc_auc(indicator(), noisy, given) == pytest.approx(expected)
    found = indicator_roc_auc(indicator(), score)
    np.testing.assert_allclose(found, roc_auc_score(Y, SCORES, average=None))
    broken = np.where(SCORES[0, 0] == SCORES, np.nan, SCORES)
    with pytest.raises(ValueError, match="1 scores of observed labels are NaN"):
        mean_roc_auc(indicator(), broken)
    assert [part.start for part in asked] == [0, 2, 4, 6]
    assert np.isnan(indicator_roc_auc(indicator().keep(np.zeros(7, bool)), score)).all()


def test_clones_have_no_labels():
    model = clone(relu().fit(X, sparse.csr_array(Y)))
    assert "classes_" not in vars(model)


def test_weights_and_positive_labels_are_those_of_the_array():
    weights = np.arange(120) % 3
    for given in ({"sample_weight": weights}, {}):
        pos_label = None if given else 0
        dense = relu(pos_label=pos_label).fit(X, Y, **given)
        found = relu(pos_label=pos_label).fit(X, sparse.coo_array(Y), **given)
        np.testing.assert_array_equal(found.hidden_weights_, dense.hidden_weights_)
        scores = (
            model.score(X, sparse.csc_array(Y), **given) for model in (found, dense)
        )
        np.testing.assert_allclose([*scores], dense.score(X, Y, **given), rtol=1e-12)
    one = multitask_roc_auc_score(sparse.csr_array(Y), -SCORES, pos_label=0)
    assert one == pytest.approx(multitask_roc_auc_score(Y, SCORES))
