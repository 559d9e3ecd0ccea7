"""Which label a score and a probability speak for."""

import numpy as np
import pandas as pd
import pytest
from relu_cases import FITTED_ARRAYS, make, quick, subspace_rows, to_long
from scipy.sparse import csr_array
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn._labels.encoding import learn_encoding
from mtrl_sklearn._labels.positive import put_positive_last
from mtrl_sklearn.metrics import multitask_roc_auc_score, multitask_roc_auc_scorer
from mtrl_sklearn.probing import source_task_transfer

pytestmark = quick


def words(Y, names=("active", "inactive")):
    """Labels 1 and 0 as words, of which the positive one sorts first."""
    positive, negative = names
    table = np.where(Y == 1, positive, negative).astype(object)
    table[np.isnan(Y)] = None
    return table


def assert_same_network(model, expected):
    for name in (*FITTED_ARRAYS, "n_positive_", "n_negative_"):
        np.testing.assert_array_equal(getattr(model, name), getattr(expected, name))


def test_a_label_of_all_tasks():
    X, Y = subspace_rows()
    expected = make().fit(X, Y)
    model = make(pos_label="active").fit(X, words(Y))
    assert_same_network(model, expected)
    assert [list(classes) for classes in model.classes_] == [["inactive", "active"]] * 6
    probabilities = model.predict_proba(X)
    np.testing.assert_array_equal(probabilities, expected.predict_proba(X))
    np.testing.assert_array_equal(model.predict(X) == "active", probabilities > 0.5)
    assert model.score(X, words(Y)) == expected.score(X, Y) > 0.6
    turned = make().fit(X, words(Y))
    assert turned.score(X, words(Y)) == pytest.approx(
        model.score(X, words(Y)), abs=0.05
    )
    assert np.corrcoef(turned.predict_proba(X)[:, 0], probabilities[:, 0])[0, 1] < -0.5


def test_labels_by_task():
    X, Y = subspace_rows()
    frame = pd.DataFrame(Y, columns=list("abcdef")).astype(object)
    frame["a"] = words(Y)[:, 0]
    frame["b"] = 1 - Y[:, 1]
    frame["c"] = words(Y, ("hit", "dead"))[:, 2]  # sorts last as it is
    expected = make().fit(X, pd.DataFrame(Y, columns=list("abcdef")))
    model = make(pos_label={"a": "active", "b": 0}).fit(X, frame)
    assert_same_network(model, expected)
    assert [list(c) for c in model.classes_[:3]] == [
        ["inactive", "active"],
        [1, 0],
        ["dead", "hit"],
    ]
    scores = model.predict_proba(X)
    per_task = multitask_roc_auc_score(
        frame, scores, average=None, pos_label={"a": "active", "b": 0}
    )
    np.testing.assert_allclose(
        per_task, multitask_roc_auc_score(Y, scores, average=None), atol=1e-12
    )
    with pytest.raises(ValueError, match="pos_label='active' is no label of 'b'"):
        multitask_roc_auc_score(frame, scores, pos_label="active")


def test_long_form_by_id_and_a_single_column():
    X, Y = subspace_rows()
    rows, y, tasks = to_long(X, Y)
    expected = make().fit(rows, y, tasks)
    flipped = np.where(tasks == "task2", 1 - y, y)
    model = make(pos_label={"task2": 0}).fit(rows, flipped, tasks)
    assert_same_network(model, expected)
    column = np.nan_to_num(Y[:, 0])
    model = make(pos_label=0).fit(X, 1 - column)
    assert model.classes_.tolist() == [1, 0]
    expected = make().fit(X, column)
    assert_same_network(model, expected)
    np.testing.assert_array_equal(model.predict_proba(X), expected.predict_proba(X))
    np.testing.assert_array_equal(1 - model.predict(X), expected.predict(X))


def test_tasks_of_more_classes_have_no_use_for_it():
    X, Y = subspace_rows()
    colours = np.array(["red", "green", "blue"])[np.arange(len(X)) % 3]
    frame = pd.DataFrame({"active": words(np.nan_to_num(Y[:, 0])), "colour": colours})
    model = make(pos_label="active").fit(X, frame)
    assert model.task_names_.tolist()[1:] == [f"colour={c}" for c in sorted({*colours})]
    assert model.classes_[1].tolist() == ["blue", "green", "red"]
    assert model.classes_[0].tolist() == ["inactive", "active"]


def test_a_third_outcome_beside_the_positive_label_is_told():
    X, Y = subspace_rows()
    frame = pd.DataFrame(words(np.nan_to_num(Y[:, :3])), columns=list("abc"))
    frame.loc[:9, "b"] = "inconclusive"
    told = r"pos_label='active' is one of more .* in 1 \('b'\): 3 \('active', .*NaN"
    with pytest.warns(UserWarning, match=told):
        model = make(pos_label="active").fit(X, frame)
    assert model.n_tasks_ == 5
    make(pos_label={"a": "active", "c": "active"}).fit(
        X, frame
    )  # says that it is meant
    make(pos_label="active").fit(X, frame.where(frame != "inconclusive", None))


def test_a_task_that_shows_one_label_counts_it_on_its_side():
    y = pd.DataFrame({"a": ["no", "no"], "b": ["yes", None], "c": ["x", "y"]})
    encoding = put_positive_last(learn_encoding(y), {"a": "yes", "b": "yes"})
    assert [c.tolist() for c in encoding.classes] == [
        ["no", "yes"],
        ["yes"],
        ["x", "y"],
    ]
    np.testing.assert_array_equal(encoding.encode(y), [[-1, 1, -1], [-1, 0, 1]])


def test_more_rows_keep_the_label():
    X, Y = subspace_rows()
    model = make(pos_label="active").partial_fit(X, words(Y))
    model.partial_fit(X, words(Y), classes=["active", "inactive"])
    before = {name: getattr(model, name) for name in FITTED_ARRAYS}
    for other in (None, "inactive", {"task0": "inactive"}):
        model.set_params(pos_label=other)
        with pytest.raises(ValueError, match=r"pos_label=.* differs from the fit"):
            model.partial_fit(X, words(Y))
        model.set_params(warm_start=True)
        with pytest.raises(ValueError, match="positive label of 'task0' is 'active'"):
            model.fit(X, words(Y))
        assert all(getattr(model, name) is array for name, array in before.items())
    model.set_params(pos_label={f"task{k}": "active" for k in range(6)})
    model.partial_fit(X, words(Y))
    model.set_params(pos_label=None, warm_start=False).fit(X, words(Y))
    assert model.classes_[0].tolist() == ["active", "inactive"]


@pytest.mark.parametrize(
    ("pos_label", "message"),
    [
        ("Active", "pos_label='Active' is no label of 'a', whose labels are .'active'"),
        (1, "pos_label=1 is no label of 'a'"),
        (np.nan, "pos_label=nan is no label of 'a'"),
        ({"a": 1}, "pos_label=1 is no label of 'a'"),
        ({"a": "active", "z": 1}, r"pos_label names tasks .*: 1 \('z'\)"),
        ({"b": "red"}, "pos_label has 'red' for 'b', which has 3 classes"),
        (
            {"c": "late"},
            "pos_label='late' is no label of 'c', whose labels are .0, 1",
        ),
        ({"a": ["active"]}, "pos_label"),
    ],
)
def test_what_is_no_label_is_refused(pos_label, message):
    X, Y = subspace_rows()
    X, a = X[:30], words(np.nan_to_num(Y[:30, 0]))
    y = pd.DataFrame({"a": a, "b": ["red", "green", "blue"] * 10, "c": [0, 1] * 15})
    model = MultiTaskReLURepresentation(4, pos_label=pos_label)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)
    assert not hasattr(model, "classes_")
    model = MultiTaskReLURepresentation(4, pos_label="red")
    with pytest.raises(ValueError, match=r"pos_label='red' is for .*'b' has 3 .'blue'"):
        model.fit(X, y["b"])


@pytest.mark.parametrize("is_long", [False, True])
def test_tools_that_leave_tasks_out_train_on_the_same_labels(is_long):
    X, Y = subspace_rows()
    Y[:, 5] = np.where(Y[:, 5] == 1, 0, 1 - Y[:, 5])
    frame = pd.DataFrame(words(Y), columns=list("abcdef"))
    by_task = dict.fromkeys("abcde", "active")
    expected = Y.copy()
    expected[:, 5] = 1 - Y[:, 5]  # "inactive" is what sorts last
    if is_long:
        rows, columns = np.nonzero(~np.isnan(Y))
        X, tasks = X[rows], np.array(list("abcdef"))[columns]
        frame, expected = words(Y)[rows, columns], expected[rows, columns]
    else:
        tasks = None
    options = {"shots": 16, "n_draws": 1, "n_groups": 2, "random_state": 0}
    table = source_task_transfer(
        make(pos_label=by_task), X, frame, tasks=tasks, **options
    )
    known = source_task_transfer(make(), X, expected, tasks=tasks, **options)
    scores, others = (t[t.select_dtypes("number").columns] for t in (table, known))
    np.testing.assert_allclose(scores.to_numpy(), others.to_numpy(), atol=1e-9)


def search(pos_label, X, y, **parameters):
    model = make(n_hidden=8, pos_label=pos_label)
    grid = {"n_hidden": [8]}
    return GridSearchCV(model, grid, cv=KFold(2), **parameters).fit(X, y)


def labels_that_scorers_see():
    X = np.random.default_rng(0).standard_normal((90, 6))
    a, b, c = (X[:, :3] > 0).T
    one = np.where(a, "active", "inactive")
    wide = np.stack([~a, ~b, c], axis=1).astype(float)
    wide[::7, 1] = np.nan
    frame = pd.DataFrame({"x": one, "y": np.where(b, "no", "yes"), "z": c})
    return {
        "one": (X, one, "active"),
        "one column": (X, frame[["x"]], {"x": "active"}),
        "booleans": (X, ~a, False),
        "all": (X, wide, 0),
        "some": (X, wide, {"task0": 0, "task1": 0.0}),
        "frame": (X, frame, {"x": "active", "y": "no"}),
        "sparse": (X, csr_array(np.nan_to_num(wide)), 0),
        "sorted": (X, 1 - wide, 1),
    }


@pytest.mark.parametrize("kind", labels_that_scorers_see())
def test_the_scorer_takes_the_label_of_the_estimator(kind):
    X, y, pos_label = labels_that_scorers_see()[kind]
    found = search(pos_label, X, y, scoring=multitask_roc_auc_scorer)
    expected = search(pos_label, X, y)
    for name in ("split0_test_score", "split1_test_score"):
        np.testing.assert_allclose(
            found.cv_results_[name], expected.cv_results_[name], atol=1e-12
        )
    assert found.best_score_ > 0.65
    score = multitask_roc_auc_scorer(found, X, y)
    best = found.best_estimator_
    assert score == pytest.approx(best.score(X, y), abs=1e-12)
    scores = best.decision_function(X)
    given = multitask_roc_auc_score(y, scores, pos_label=pos_label)
    assert score == pytest.approx(given, abs=1e-12)
    pipe = make_pipeline(StandardScaler(), best).fit(X, y)
    for outer in (pipe, FrozenEstimator(pipe)):
        score = multitask_roc_auc_scorer(outer, X, y)
        assert score == pytest.approx(pipe.score(X, y), abs=1e-12)


def test_the_scorer_scores_what_predicts():
    """The label of a representation is not that of a classifier of its features."""
    X, y, _ = labels_that_scorers_see()["one"]
    model = make(pos_label="active").fit(X, y)
    for last in (LogisticRegression(), make(n_hidden=4)):
        pipe = make_pipeline(FrozenEstimator(model), last).fit(X, y)
        expected = roc_auc_score(y == "inactive", pipe.decision_function(X))
        assert multitask_roc_auc_scorer(pipe, X, y) == pytest.approx(expected)
        assert expected > 0.8


def test_the_scorer_leaves_columns_of_more_classes_to_the_metric():
    X, y, _ = labels_that_scorers_see()["frame"]
    y = y.assign(w=np.array(["red", "green", "blue"])[np.arange(len(y)) % 3])
    model = make(pos_label={"x": "active"}).fit(X, y)
    with pytest.raises(ValueError, match="differ in shape"):
        multitask_roc_auc_scorer(model, X, y)
