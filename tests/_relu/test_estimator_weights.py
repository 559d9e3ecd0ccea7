"""Labels with weights, and in the relational form: rows, tasks, and one label each."""

import warnings

import numpy as np
import pandas as pd
import pytest
from memory import growth_of_memory, needs_status
from relu_cases import ALGORITHMS, FITTED_ARRAYS, make, quick, subspace_rows
from scipy import sparse
from sklearn import config_context
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtrl_sklearn import load, save
from mtrl_sklearn._group import ALONE
from mtrl_sklearn._labels import signs as _signs
from mtrl_sklearn._relu.task_data import find_copies

N_LABELS = 400
PER_ROW = {"dropout": 0.0, "batch_size": 10_000}  # nothing is drawn per row
ONE_BATCH = {"dropout": 0.5, "batch_size": 10_000}


def relational(seed=0):
    """Inputs, and labels some of which are at the same row and task."""
    X, Y = subspace_rows()
    X, Y = X[:60], np.nan_to_num(Y[:60])
    rng = np.random.default_rng(seed)
    rows, tasks = rng.integers(0, 60, N_LABELS), rng.integers(0, 6, N_LABELS)
    y = np.abs(Y[rows, tasks] - (rng.random(N_LABELS) < 0.2))
    weights = rng.integers(0, 4, N_LABELS)
    places = pd.DataFrame({"row": rows, "task": tasks})
    contradicting = places.assign(y=y).groupby(["row", "task"])["y"].nunique().max()
    assert contradicting == 2
    return X, y, tasks, rows, weights


def assert_same(first, second):
    for name in (*FITTED_ARRAYS, "n_positive_", "n_negative_"):
        a, b = getattr(first, name), getattr(second, name)
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8, err_msg=name)


@quick
@pytest.mark.parametrize(
    "form",
    [
        list,
        tuple,
        lambda rows: rows.astype(np.uint8),
        lambda rows: list(rows.astype(np.int32)),
        lambda rows: pd.Series(rows.tolist(), dtype=object),
        lambda rows: pd.Series(rows, index=rows[::-1]),
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_of_labels_are_any_array_of_integers(form, weighted):
    X, y, tasks, rows, weights = relational()
    given = {"sample_weight": weights} if weighted else {}
    one, other = (make(max_iter=2) for _ in range(2))
    for method in ("fit", "partial_fit"):
        getattr(one, method)(X, y, tasks=tasks, rows=rows, **given)
        getattr(other, method)(X, y, tasks=tasks, rows=form(rows), **given)
    np.testing.assert_array_equal(one.hidden_weights_, other.hidden_weights_)
    score = one.score(X, y, tasks, rows=rows, **given)
    assert other.score(X, y, tasks, rows=form(rows), **given) == score


@quick
@pytest.mark.parametrize("form", [range, lambda n: list(range(n))])
def test_rows_of_labels_are_a_range(form):
    X, y, tasks, rows, _ = relational()
    X, n = X[rows], len(rows)
    one, other = make(max_iter=2), make(max_iter=2)
    one.fit(X, y, tasks=tasks, rows=np.arange(n))
    other.fit(X, y, tasks=tasks, rows=form(n))
    np.testing.assert_array_equal(one.hidden_weights_, other.hidden_weights_)
    score = one.score(X, y, tasks, rows=np.arange(n))
    assert other.score(X, y, tasks, rows=form(n)) == score


SETTINGS = [
    {"n_components": None},
    {"n_components": 2, "loss": "hinge", "task_weight": "equal"},
]


@quick
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_the_relational_form_is_the_long_form_of_repeated_rows(
    algorithm, settings, form
):
    X, y, tasks, rows, _ = relational()
    one, other = (make(algorithm=algorithm, **PER_ROW, **settings) for _ in range(2))
    one.fit(form(X), y, tasks=tasks, rows=rows)
    other.fit(form(X[rows]), y, tasks=tasks)
    assert_same(one, other)
    one.partial_fit(form(X), y, tasks=tasks, rows=rows)
    other.partial_fit(form(X[rows]), y, tasks=tasks)
    assert_same(one, other)
    score = one.score(form(X), y, tasks=tasks, rows=rows)
    assert score == pytest.approx(other.score(X[rows], y, tasks=tasks), abs=1e-12)


@quick
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("kind", ["relational", "long", "wide", "single"])
def test_weights_of_integers_are_repeated_entries(algorithm, settings, kind):
    X, y, tasks, rows, weights = relational()
    places = {"tasks": tasks}
    if kind == "relational":
        places["rows"] = rows
    elif kind == "long":
        X = X[rows]
    else:
        X, y = subspace_rows()
        y, places = y if kind == "wide" else np.nan_to_num(y[:, 0]), {}
        weights = np.random.default_rng(1).integers(0, 4, len(X))
    again = np.repeat(np.arange(len(y)), weights)
    X_again = X if kind == "relational" else X[again]
    places_again = {name: ids[again] for name, ids in places.items()}
    one, other = (make(algorithm=algorithm, **ONE_BATCH, **settings) for _ in range(2))
    for method in ("fit", "partial_fit"):
        getattr(one, method)(X, y, **places, sample_weight=weights)
        getattr(other, method)(X_again, y[again], **places_again)
        assert_same(one, other)
    score = one.score(X, y, **places, sample_weight=weights)
    expected = other.score(X_again, y[again], **places_again)
    assert score == pytest.approx(expected, abs=1e-12)


@quick
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"n_components": "auto", "batch_size": 7},
        {"early_stopping": True, "validation_fraction": 0.3},
    ],
)
def test_weights_of_few_rows_are_copies_in_mini_batches_too(form, settings):
    """In any order: inputs that are the same are drawn as one."""
    X, Y = subspace_rows()
    X, Y, weights = X[:60], Y[:60], np.random.default_rng(1).integers(0, 5, 60)
    again = np.random.default_rng(2).permutation(np.repeat(np.arange(60), weights))
    one = make(**settings).fit(form(X), Y, sample_weight=weights)
    other = make(**settings).fit(form(X[again]), Y[again])
    assert_same(one, other)
    np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(X), rtol=1e-6)
    one.partial_fit(form(X), Y, sample_weight=weights)
    assert_same(one, other.partial_fit(form(X[again]), Y[again]))


@quick
def test_weights_of_1_change_nothing():
    X, Y = subspace_rows()
    expected = make().fit(X, Y)
    for kept in (np.ones(300), np.r_[np.ones(200), np.zeros(100)]):
        if not kept.all():
            expected.fit(X[:200], Y[:200])
        model = make().fit(X, Y, sample_weight=kept)
        for name in FITTED_ARRAYS:
            np.testing.assert_array_equal(getattr(model, name), getattr(expected, name))


@quick
def test_copies_count_as_one_among_few_rows_or_in_one_batch():
    X = subspace_rows()[0][:140]
    X, signs = np.r_[X, X], np.ones((280, 2), np.int8)

    def count(rows, signs=signs, **parameters):
        batch_size = make(**parameters).batch_size
        has_weights = signs.dtype.kind == "f"
        found = find_copies(X[rows], has_weights, batch_size, ALONE)
        return None if found is None else len(np.unique(found))

    everything, few, all_differ = np.arange(280), np.arange(140) * 2, np.arange(100)
    assert count(everything) is None
    assert count(everything, batch_size=139) is None
    assert count(everything, batch_size=140) == 140
    assert count(few) == 70
    assert count(all_differ) is None
    assert count(all_differ, signs * 0.5) == 100
    often = np.repeat(few, 80)  # a look at some of the rows does not tell
    assert count(often, batch_size=140) == count(often[::-1], batch_size=140) == 70
    assert count(np.r_[often, few + 1], batch_size=139) is None


@quick
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_only_ratios_of_weights_move_the_network(algorithm):
    X, y, tasks, rows, weights = relational()
    labels = {"tasks": tasks, "rows": rows}
    parameters = {"algorithm": algorithm, "dropout": 0.0, "batch_size": 20}
    with pytest.warns(UserWarning, match="The sum of sample_weight"):
        small = make(**parameters).fit(X, y, **labels, sample_weight=weights / 1000)
    large = make(**parameters).fit(X, y, **labels, sample_weight=weights * 1000)
    np.testing.assert_allclose(small.n_positive_ * 1e6, large.n_positive_, rtol=1e-12)
    if algorithm == "one_step":  # intercepts start at log-odds that half a label moves
        np.testing.assert_allclose(
            small.hidden_weights_, large.hidden_weights_, rtol=1e-7, atol=1e-10
        )


@quick
def test_an_entry_of_weight_0_is_not_there_at_all():
    X, Y = subspace_rows()
    rng = np.random.default_rng(0)
    weights = (rng.random(len(X)) > 0.3).astype(float)
    strange = np.where(weights[:, None] > 0, Y, 7.0)  # a class of nothing that counts
    kept = weights > 0
    one = make(early_stopping=True).fit(X, strange, sample_weight=weights)
    other = make(early_stopping=True).fit(X[kept], Y[kept], sample_weight=weights[kept])
    for name in FITTED_ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    listed = make().fit(X.tolist(), strange.tolist(), sample_weight=weights.tolist())
    framed = make().fit(X, pd.DataFrame(strange), sample_weight=pd.Series(weights))
    np.testing.assert_array_equal(listed.hidden_weights_, framed.hidden_weights_)


@quick
@pytest.mark.filterwarnings("ignore:1 of 7 tasks show labels of at most 1 class")
def test_missing_labels_of_the_long_form_are_of_weight_0():
    """All but the id of their task, of which there may be no other label."""
    X, Y = subspace_rows()
    rows, tasks = np.nonzero(np.random.default_rng(0).random((len(X), 6)) < 0.3)
    kept = np.arange(len(rows)) % 3 > 0
    y, missing = Y[rows, tasks], np.where(kept, Y[rows, tasks], np.nan)
    one = make(early_stopping=True).fit(X[rows], y, tasks, sample_weight=kept)
    other = make(early_stopping=True).fit(X[rows], missing, tasks)
    for name in FITTED_ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    new = np.where(kept, tasks, 6)
    other.fit(X[rows], missing, new)
    assert other.task_names_.tolist() == [*range(7)]
    np.testing.assert_allclose(other.hidden_weights_, one.hidden_weights_, rtol=1e-9)
    nothing = np.full(5, np.nan)
    assert other.partial_fit(X[:5], nothing, np.arange(5)).n_tasks_ == 7


@quick
@pytest.mark.filterwarnings("ignore:.*tasks show labels of at most 1 class")
@pytest.mark.parametrize("density", [0.0, 1.0])
def test_weights_of_few_labels_of_many_tasks(monkeypatch, density):
    rng = np.random.default_rng(0)
    X, tasks = rng.standard_normal((900, 8)), np.arange(900) % 150
    y, weights = (X[:, 0] > 0).astype(int), rng.integers(1, 4, 900)
    again = np.repeat(np.arange(900), weights)
    monkeypatch.setattr(_signs, "MAX_DENSITY", density)
    one = make(**PER_ROW).fit(X, y, tasks, sample_weight=weights)
    other = make(**PER_ROW).fit(X[again], y[again], tasks[again])
    assert_same(one, other)


@quick
def test_relational_fits_are_saved_and_go_on(tmp_path):
    X, y, tasks, rows, weights = relational()
    labels = {"tasks": tasks, "rows": rows, "sample_weight": weights + 0.5}
    model = make(n_components=2, checkpoint=tmp_path / "c").fit(X, y, **labels)
    again = make(n_components=2, checkpoint=tmp_path / "c").fit(X, y, **labels)
    np.testing.assert_array_equal(model.hidden_weights_, again.hidden_weights_)
    others = {**labels, "sample_weight": weights + 0.25}
    with pytest.raises(ValueError, match="differs from this one in y"):
        again.fit(X, y, **others)
    save(model, tmp_path / "model")
    loaded = load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.n_positive_, model.n_positive_)
    loaded.partial_fit(X, y, **labels)
    np.testing.assert_array_equal(
        loaded.hidden_weights_, model.partial_fit(X, y, **labels).hidden_weights_
    )


@quick
@pytest.mark.parametrize("holds_out", [False, True])
def test_relational_fits_choose_ranks_and_hold_out_inputs(holds_out):
    X, y, tasks, rows, weights = relational()
    model = make(early_stopping=holds_out, n_components="auto", validation_fraction=0.3)
    model.fit(X, y, tasks=tasks, rows=rows, sample_weight=weights)
    assert np.isfinite(model.transform(X)).all()
    assert len(getattr(model, "validation_scores_", [])) == holds_out * model.n_iter_


@quick
def test_weights_reach_searches_and_pipelines():
    X, Y = subspace_rows()
    weights = np.random.default_rng(0).integers(0, 3, len(X))
    pipe = make_pipeline(StandardScaler(), make())
    pipe.fit(X, Y, multitaskrelurepresentation__sample_weight=weights)
    expected = make().fit(pipe[0].transform(X), Y, sample_weight=weights)
    np.testing.assert_array_equal(pipe[1].hidden_weights_, expected.hidden_weights_)
    with config_context(enable_metadata_routing=True):
        model = make().set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=True)
        search = GridSearchCV(
            model, {"n_hidden": [4]}, cv=[(range(200), range(200, 300))]
        )
        search.fit(X, Y, sample_weight=weights)
    fold = make(n_hidden=4).fit(X[:200], Y[:200], sample_weight=weights[:200])
    score = fold.score(X[200:], Y[200:], sample_weight=weights[200:])
    assert search.best_score_ == pytest.approx(score, abs=1e-12)


@quick
@needs_status
@pytest.mark.filterwarnings("ignore:.*tasks show labels of at most 1 class")
def test_memory_of_the_relational_form_grows_with_labels():
    rng = np.random.default_rng(0)
    n_rows, n_tasks, n_labels = 40_000, 20_000, 200_000
    X = rng.standard_normal((n_rows, 8)).astype(np.float32)
    rows, tasks = rng.integers(0, n_rows, n_labels), rng.integers(0, n_tasks, n_labels)
    y = X[rows, 0] > 0
    model = make(n_hidden=4, max_iter=1, batch_size=2000, n_components=None)
    model.fit(X[:50], y[:50], tasks=np.arange(50) % 3, rows=np.arange(50))
    with growth_of_memory() as growth:
        score = model.fit(X, y, tasks=tasks, rows=rows).score(
            X, y, tasks=tasks, rows=rows
        )
    assert score > 0.5
    assert growth.peak < n_rows * n_tasks / 8


@quick
def test_weights_that_are_shares_are_told():
    X, Y = subspace_rows()
    shares = np.full(len(X), 1 / len(X))
    message = r"sum of sample_weight is 1 for \d+ entries.*Multiply them"
    with pytest.warns(UserWarning, match=message):
        make(max_iter=1).fit(X, Y, sample_weight=shares)
    few = np.where(np.arange(len(X)) < 9, 1.0, 0.0)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "The sum of")
        make(max_iter=1).fit(X, Y, sample_weight=few)


def test_rows_that_are_all_the_same_leave_none_to_hold_out():
    with pytest.raises(ValueError, match=r"early_stopping=True.*all rows of X are the"):
        make(early_stopping=True).fit(np.ones((60, 3)), np.arange(60) % 2)


@quick
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_rows_without_a_label_are_as_good_as_absent(method, algorithm, early_stopping):
    X, Y = subspace_rows()
    kept = np.arange(300) % 3 == 0
    X[~kept] *= 5
    missing = np.where(kept[:, None], Y, np.nan)
    given = {"algorithm": algorithm, "early_stopping": early_stopping}
    absent, wide = (make(**given) for _ in range(2))
    for _ in range(2):
        getattr(absent, method)(X[kept], Y[kept])
        getattr(wide, method)(X, missing)
    assert_same(wide, absent)


@quick
def test_inputs_without_a_label_in_the_relational_form_are_as_good_as_absent():
    X, Y = subspace_rows()
    rows, tasks = np.nonzero(~np.isnan(Y[:100]))
    labels = {"y": Y[rows, tasks], "tasks": tasks, "rows": rows}
    assert_same(make().fit(X, **labels), make().fit(X[:100], **labels))


@quick
def test_rows_with_labels_of_one_class_tasks_alone_are_as_good_as_absent():
    X, Y = subspace_rows()
    kept = np.arange(300) % 3 == 0
    Y = np.column_stack([np.where(kept[:, None], Y, np.nan), np.ones(300)])
    networks = [make(), make()]
    with pytest.warns(UserWarning, match="at most 1 class"):
        networks[0].fit(X, Y)
    with pytest.warns(UserWarning, match="at most 1 class"):
        networks[1].fit(X[kept], Y[kept])
    for name in ("hidden_weights_", "hidden_biases_", "task_coef_", "loss_curve_"):
        one, other = (getattr(network, name) for network in networks)
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-8, err_msg=name)
    one, other = (network.task_intercept_[:-1] for network in networks)
    np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-8)
