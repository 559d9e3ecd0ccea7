"""Rows, scores and claims of probe_new_tasks, and the table that it returns."""

import pickle
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import f1_score, log_loss, make_scorer, roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtrl_sklearn import ConvMultiTaskClassifier, MultiTaskReLURepresentation
from mtrl_sklearn.datasets import (
    make_digit_tasks,
    make_patch_tasks,
    make_subspace_tasks,
)
from mtrl_sklearn.probing import LinearProbe, probe_new_tasks, source_task_transfer
from mtrl_sklearn.probing._table import TransferTable

KINDS = ["representation", "raw", "random", "no labels"]
COLUMNS = ["task", "shots", "draw", "features", "metric", "score"]


@pytest.fixture(scope="module")
def problem():
    return make_subspace_tasks(300, 12, n_components=3, n_tasks=12, random_state=0)


@pytest.fixture(scope="module")
def relu(problem):
    return MultiTaskReLURepresentation(16, random_state=0).fit(problem.X, problem.Y)


@pytest.fixture(scope="module")
def new(problem):
    tasks = problem.problem.new_tasks(3, random_state=1)
    return tasks.sample(160, random_state=2)


def probe(representation, X, Y, **parameters):
    defaults = {"shots": (8, 16), "n_draws": 2, "random_state": 0}
    return probe_new_tasks(representation, X, Y, **{**defaults, **parameters})


def assert_same_scores(first, second):
    np.testing.assert_array_equal(first["score"], second["score"])
    columns = ["shots", "draw", "features"]
    first, second = (t[columns].reset_index(drop=True) for t in (first, second))
    pd.testing.assert_frame_equal(pd.DataFrame(first), pd.DataFrame(second))


# --- which rows are used ---


class Unchanged(TransformerMixin, BaseEstimator):
    """A representation that shows what it was given."""

    def fit(self, X, y=None):
        return self

    def __sklearn_is_fitted__(self):
        return True

    def transform(self, X):
        return np.asarray(X)


class Spy(ClassifierMixin, BaseEstimator):
    """Keeps what it is fitted on; rows carry their number in the first column."""

    fits = []

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        Spy.fits.append((X, np.asarray(y)))
        return self


class SpyScore:
    """Keeps what it scores."""

    def __init__(self):
        self.calls = []

    def __call__(self, estimator, X, y):
        self.calls.append((X, np.asarray(y)))
        return 0.0


class Seen:
    """Rows and labels of every fit of a run, and of the score that followed."""

    def __init__(self, X, Y, **parameters):
        Spy.fits, score = [], SpyScore()
        parameters = {"baselines": ("raw",)} | parameters
        self.table = probe(Unchanged(), X, Y, probe=Spy(), scoring=score, **parameters)
        self.train = [(row_numbers(X), y) for X, y in Spy.fits]
        self.test = [(row_numbers(X), y) for X, y in score.calls]
        assert len(self.table) == len(self.train) == len(self.test) > 0


def row_numbers(X):
    return X[:, 0].astype(int)


@pytest.fixture
def numbered():
    """Rows that carry their number, and labels of three tasks, some not observed."""
    rng = np.random.default_rng(0)
    X = np.c_[np.arange(120), rng.standard_normal((120, 2))]
    Y = (rng.random((120, 3)) < 0.5).astype(float)
    Y[rng.random(Y.shape) < 0.3] = np.nan
    return X, Y


@pytest.mark.parametrize("shots", [(8, 16), (2, 7, 9, 20)])
def test_training_rows_are_balanced_observed_and_not_tested(numbered, shots):
    X, Y = numbered
    seen = Seen(X, Y, shots=shots, n_draws=3, sampling="balanced")
    for row, (train, y), (test, y_test) in zip(
        seen.table.itertuples(), seen.train, seen.test
    ):
        labels = Y[:, int(row.task[-1])]
        np.testing.assert_array_equal(labels[train], y)
        np.testing.assert_array_equal(labels[test], y_test)
        assert len(train) == len(set(train.tolist())) == row.shots
        assert y.sum() == row.shots // 2  # an odd one goes to the negative class
        assert set(y_test) == {0, 1}
        assert not set(train.tolist()) & set(test.tolist())
        n_observed = np.sum(~np.isnan(labels))
        assert len(test) == pytest.approx(0.25 * n_observed, abs=1)


def test_all_kinds_of_features_get_the_same_rows(numbered):
    seen = Seen(*numbered, n_draws=3)
    keys = ["task", "shots", "draw"]
    for _, part in seen.table.reset_index(drop=True).groupby(keys):
        assert part["features"].tolist() == ["representation", "raw"]
        for rows in (seen.train, seen.test):
            first, second = (rows[k] for k in part.index)
            np.testing.assert_array_equal(first[0], second[0])
            np.testing.assert_array_equal(first[1], second[1])


def test_few_rows_are_among_more_and_draws_differ(numbered):
    shots = (4, 8, 16)
    seen = Seen(*numbered, shots=shots, sampling="balanced", n_draws=2, baselines=())
    rows = {
        (row.task, row.draw, row.shots): set(train.tolist())
        for row, (train, _) in zip(seen.table.itertuples(), seen.train)
    }
    for task in ("task0", "task1", "task2"):
        for draw in (0, 1):
            assert rows[task, draw, 4] < rows[task, draw, 8] < rows[task, draw, 16]
        assert rows[task, 0, 16] != rows[task, 1, 16]


class OpenSpy(Spy):
    """A spy that takes labels of one class, or none."""

    def fit(self, X, y, classes=None):
        assert classes == [0, 1]
        return super().fit(X, y)


def test_labels_are_drawn_as_they_come():
    X, y = np.arange(240)[:, None], (np.arange(240) % 10 == 0).astype(float)
    Spy.fits = []
    parameters = {"shots": (0, 4, 30), "n_draws": 50, "baselines": ()}
    table = probe(Unchanged(), X, y, probe=OpenSpy(), scoring=SpyScore(), **parameters)
    drawn = {k: [] for k in parameters["shots"]}
    for row, (inputs, labels) in zip(table.itertuples(), Spy.fits, strict=True):
        assert len(labels) == row.shots
        np.testing.assert_array_equal(y[row_numbers(inputs)], labels)
        drawn[row.shots].append(row_numbers(inputs))
    n_positive = np.array([y[rows].sum() for rows in drawn[30]])
    # hypergeometric, 18 of 180 rows besides the test rows
    variance = 30 * 0.1 * 0.9 * 150 / 179
    assert abs(n_positive.mean() - 3) < 4 * np.sqrt(variance / 50)
    assert variance / 2 < n_positive.var() < 2 * variance
    n_one_sided = sum(y[rows].sum() == 0 for rows in drawn[4])
    assert abs(n_one_sided / 50 - 0.654) < 4 * np.sqrt(0.654 * 0.346 / 50)
    for few, more in zip(drawn[4], drawn[30]):
        assert set(few) < set(more)


@pytest.mark.parametrize("as_strings", [False, True])
def test_whole_groups_are_held_out(numbered, as_strings):
    X, Y = numbered
    groups = np.random.default_rng(1).integers(12, size=len(X))
    given = [f"group {k}" for k in groups] if as_strings else groups
    seen = Seen(X, Y, groups=given, n_draws=3)
    for (train, _), (test, _) in zip(seen.train, seen.test):
        assert not np.intersect1d(groups[train], groups[test]).size


def test_labels_of_test_rows_do_not_reach_a_fit(numbered):
    X, Y = numbered[0], np.arange(120) % 2.0
    groups = np.arange(120) // 5  # rows held out are drawn without a look at labels
    parameters = {"groups": groups, "n_draws": 1, "baselines": ()}
    before = Seen(X, Y, **parameters)
    test = before.test[0][0]
    shuffled = Y.copy()
    shuffled[test] = np.random.default_rng(0).permutation(Y[test])
    assert (shuffled != Y).any()
    after = Seen(X, shuffled, **parameters)
    np.testing.assert_array_equal(after.test[0][0], test)
    for (rows, y), (rows_after, y_after) in zip(before.train, after.train):
        np.testing.assert_array_equal(rows, rows_after)
        np.testing.assert_array_equal(y, y_after)


def test_shuffled_training_labels_leave_chance(problem, relu):
    X, Y = problem.problem.new_tasks(8, random_state=1).sample(400, random_state=2)
    test_rows = np.arange(400) >= 200
    parameters = {"test_rows": test_rows, "shots": (64,), "n_draws": 3}
    parameters |= {"baselines": ("raw", "random")}
    assert probe(relu, X, Y, **parameters)["score"].mean() > 0.7
    rng = np.random.default_rng(0)
    Y[:200] = rng.permuted(Y[:200], axis=0)
    means = probe(relu, X, Y, **parameters).groupby("features")["score"].mean()
    assert (means - 0.5).abs().max() < 0.08


def test_rows_to_test_on_can_be_named(numbered):
    X, Y = numbered
    rows = np.arange(80, 120)
    seen = Seen(X, Y, test_rows=rows)
    for row, (train, _), (test, _) in zip(
        seen.table.itertuples(), seen.train, seen.test
    ):
        assert not np.isin(train, rows).any()
        observed = ~np.isnan(Y[rows, int(row.task[-1])])
        np.testing.assert_array_equal(np.sort(test), rows[observed])
    by_mask = Seen(X, Y, test_rows=np.isin(np.arange(120), rows))
    for (train, _), (again, _) in zip(seen.train, by_mask.train):
        np.testing.assert_array_equal(train, again)


@pytest.mark.parametrize(
    ("test_rows", "message"),
    [
        ([], "test_rows"),
        (np.arange(120), "120 of 120 rows"),
        (np.zeros(120, dtype=bool), "0 of 120 rows"),
        ([3, 120], "test_rows should be"),
        ([-1], "test_rows should be"),
        ([True, False], "test_rows should be"),
        ([0.5], "test_rows should be"),
    ],
)
def test_bad_rows_to_test_on_are_refused(numbered, test_rows, message):
    with pytest.raises(ValueError, match=message):
        probe(Unchanged(), *numbered, test_rows=test_rows)


def test_rows_to_test_on_respect_groups(numbered):
    groups = np.arange(120) // 10
    assert len(probe(Unchanged(), *numbered, test_rows=np.arange(40), groups=groups))
    with pytest.raises(ValueError, match=r"[Gg]roups.*test_rows"):
        probe(Unchanged(), *numbered, test_rows=np.arange(45), groups=groups)


# --- tasks without enough labels ---


def test_what_cannot_be_drawn_is_listed_with_the_reason(relu, new):
    X, Y = new[0], new[1][:, [0, 0, 0, 0]].copy()
    Y[:, 1] = np.nan
    Y[:, 2] = 1
    few = [np.flatnonzero(Y[:, 3] == label)[:2] for label in (0, 1)]
    Y[np.setdiff1d(np.arange(len(Y)), few), 3] = np.nan
    table = probe(relu, X, Y, shots=(16, 1000))
    skipped = table.skipped
    assert skipped.columns.tolist() == ["task", "shots", "draws", "reason"]
    listed = set(zip(skipped["task"], skipped["shots"]))
    every = {(f"task{k}", shots) for k in range(4) for shots in (16, 1000)}
    assert listed == every - {("task0", 16)}
    assert (skipped["draws"] == 2).all()
    assert skipped["reason"].str.contains("needed").all()
    assert table["task"].unique().tolist() == ["task0"]
    assert "3 tasks" not in table.report()  # task0 lacks labels for 1000
    assert "4 tasks lack labels" in table.report()


def test_nothing_is_skipped_where_labels_suffice(relu, new):
    table = probe(relu, *new)
    assert len(table.skipped) == 0
    assert len(table) == 3 * 2 * 2 * 4
    assert "lack" not in table.report()


def test_a_table_without_scores(relu, new):
    words = (
        r"none of the 3 tasks .*shots=10000.* needs 10000 labels.*5 of.* most, 'task"
    )
    with pytest.warns(
        UserWarning, match=words + r".* has \d+ positive and \d+ negative"
    ):
        table = probe(relu, *new, shots=(20_000, 10_000))
    assert table.columns.tolist() == COLUMNS
    with pytest.warns(UserWarning, match="5000 positive and 5000 negative labels"):
        probe(relu, *new, shots=10_000, sampling="balanced")
    assert len(table) == len(table.summary()) == 0
    assert len(table.skipped) == 6
    assert "3 tasks" in table.report()
    Y = np.where(np.arange(len(new[0])) % 2, np.nan, 1.0)
    with pytest.warns(
        UserWarning, match=r"of the 1 tasks .*'y', has \d+ pos.* and 0 neg"
    ):
        assert len(probe(relu, new[0], Y)) == 0


@pytest.mark.filterwarnings("ignore:The table is empty")
@pytest.mark.parametrize("test_size", [0.001, 0.6, 0.99])
@pytest.mark.parametrize("n_groups", [None, 1, 2])
def test_splits_that_leave_nothing_are_listed(relu, new, n_groups, test_size):
    groups = None if n_groups is None else np.arange(len(new[0])) % n_groups
    table = probe(relu, *new, groups=groups, test_size=test_size)
    n_scored = len(table.drop_duplicates(["task", "shots", "draw"]))
    assert n_scored + table.skipped["draws"].sum() == 3 * 2 * 2


# --- forms of data, representations, probes, scores ---


def test_the_table_is_tidy(relu, new):
    table = probe(relu, *new)
    assert isinstance(table, pd.DataFrame)
    assert table.columns.tolist() == COLUMNS
    assert not table.duplicated(COLUMNS[:-1]).any()
    assert sorted(table["features"].unique()) == sorted(KINDS)
    assert table["shots"].unique().tolist() == [8, 16]
    assert table["draw"].unique().tolist() == [0, 1]
    assert table["score"].between(0, 1).all()
    assert table.equals(probe(relu, *new))
    assert not table.equals(probe(relu, *new, random_state=1))


@pytest.mark.parametrize("fine_tune", [False, True])
def test_number_of_processes_does_not_matter(relu, new, fine_tune):
    parameters = {
        "probe": LinearProbe(fine_tune=fine_tune),
        "shots": (8,),
        "n_draws": 1,
    }
    one, two = (probe(relu, *new, **parameters, n_jobs=k) for k in (1, 2))
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    assert one.skipped.equals(two.skipped)


def test_forms_of_labels(relu, new):
    X, Y = new
    once = {"n_draws": 1, "shots": (8,), "baselines": ("raw",)}
    base = probe(relu, X, Y, **once)
    names = ["first", "second", "third"]
    words = np.where(Y == 1, "yes", "no")
    with_none = Y.astype(object)
    for labels in (
        words,
        words.tolist(),
        Y.astype(bool),
        with_none,
        pd.DataFrame(words, columns=names).astype("category"),
        pl.DataFrame(Y, schema=names),
    ):
        table = probe(relu, X, labels, **once)
        assert_same_scores(base, table)
        if hasattr(labels, "columns"):
            assert table["task"].unique().tolist() == names
    single = probe(relu, X, Y[:, 0], **once)
    assert_same_scores(base[base["task"] == "task0"], single)
    series = probe(relu, X, pd.Series(Y[:, 0], name="odour"), **once)
    assert series["task"].unique().tolist() == ["odour"]
    assert_same_scores(single, series)


def test_columns_of_several_classes_become_tasks(relu, new):
    X = new[0]
    classes = np.array(["cold", "hot", "mild"])[np.digitize(X[:, 0], [-0.4, 0.4])]
    table = probe(relu, X, pd.DataFrame({"weather": classes, "rain": X[:, 1] > 0}))
    names = ["weather=cold", "weather=hot", "weather=mild", "rain"]
    assert table["task"].unique().tolist() == names


@pytest.mark.parametrize("kind", ["list", "read-only", "float32", "frame"])
def test_kinds_of_inputs(problem, relu, new, kind):
    X, Y = new
    model, base = relu, probe(relu, X, Y)
    if kind == "list":
        X = X.tolist()
    elif kind == "read-only":
        X = X.copy()
        X.flags.writeable = False
    elif kind == "float32":
        X = X.astype(np.float32)
    else:
        names = [f"f{k}" for k in range(12)]
        model = MultiTaskReLURepresentation(16, random_state=0)
        model.fit(pd.DataFrame(problem.X, columns=names), problem.Y)
        X = pd.DataFrame(X, columns=names)
        tuned = probe(model, X, Y, probe=LinearProbe(fine_tune=True))
        assert len(tuned) == len(base)
    table = probe(model, X, Y)
    np.testing.assert_allclose(table["score"], base["score"], atol=0.05)


def test_the_representation_is_not_changed(problem, relu, new):
    pipeline = make_pipeline(StandardScaler(), FrozenEstimator(relu)).fit(problem.X)
    for representation in (relu, FrozenEstimator(relu), pipeline):
        before = joblib.hash(representation)
        probe(
            representation, *new, probe=LinearProbe(fine_tune=True), shots=8, n_draws=1
        )
        assert joblib.hash(representation) == before
    assert_same_scores(probe(relu, *new), probe(FrozenEstimator(relu), *new))


def test_unfitted_representations_are_refused(new):
    with pytest.raises(NotFittedError):
        probe(MultiTaskReLURepresentation(), *new)


@pytest.mark.parametrize(
    ("output", "loss"),
    [("hidden", "hinge"), ("scores", "logistic"), ("projection", "hinge")],
)
def test_outputs_and_losses_of_the_representation(problem, new, output, loss):
    model = MultiTaskReLURepresentation(16, output=output, loss=loss, random_state=0)
    table = probe(model.fit(problem.X, problem.Y), *new, n_draws=1)
    assert table["features"].unique().tolist() == KINDS


@pytest.mark.parametrize("container", ["default", "pandas"])
def test_convolutional_networks(container):
    X, y, tasks, *_ = make_patch_tasks(40, n_tasks=3, random_state=0)
    network = ConvMultiTaskClassifier(8, random_state=0).fit(X, y, tasks)
    network.set_output(transform=container)
    table = probe(network, X, y)
    assert table["features"].unique().tolist() == KINDS
    # its own labels, on its own rows: what it learned shows
    means = table.groupby("features")["score"].mean()
    assert means["representation"] > means["random"] + 0.1


@pytest.mark.parametrize(
    "chosen",
    [
        KNeighborsClassifier(3),
        RidgeClassifier(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        LinearProbe(C=0.1, weights={"hidden": 1}),
    ],
)
def test_other_probes(relu, new, chosen):
    table = probe(relu, *new, probe=chosen)
    means = table.groupby("features")["score"].mean()
    assert means["representation"] > means[["raw", "random"]].max()


def test_plain_probes_see_what_transform_returns(relu, new):
    X, Y = new
    expected = probe(relu, X, Y, probe=LogisticRegression(), baselines=())
    transformed = probe(
        Unchanged(), relu.transform(X), Y, probe=LogisticRegression(), baselines=()
    )
    assert_same_scores(expected, transformed)


def test_scores_of_choice(relu, new):
    losses = probe(relu, *new, scoring="neg_log_loss")
    assert (losses["score"] < 0).all()
    accuracy = probe(relu, *new, scoring="accuracy")

    def share_right(estimator, X, y):
        assert len(X) == len(y)
        return np.mean(estimator.predict(X) == y)

    own = probe(relu, *new, scoring=share_right)
    assert_same_scores(accuracy, own)
    assert set(own["metric"]) == {"share_right"}


def test_several_scores(relu, new):
    one = probe(relu, *new, scoring="roc_auc")
    scorers = ["roc_auc", make_scorer(f1_score), SpyScore()]
    table = probe(relu, *new, scoring=scorers)
    assert table["metric"].unique().tolist() == ["roc_auc", "f1_score", "SpyScore"]
    assert len(table) == 3 * len(one)
    assert_same_scores(table[table["metric"] == "roc_auc"], one)
    named = probe(relu, *new, scoring={"a": "roc_auc", "b": "accuracy"})
    assert_same_scores(named[named["metric"] == "a"], one)
    summary = named.summary()
    of_one = one.summary()
    pd.testing.assert_frame_equal(
        summary[summary["metric"] == "a"].drop(columns="metric"),
        of_one.drop(columns="metric"),
    )
    lines = named.report().splitlines()
    assert len(lines) == 2 * 2 * 3
    assert lines[0] == "a, " + one.report().splitlines()[0]
    assert lines[-1].startswith("b, 16 labels: ")


# --- no labels ---


@pytest.mark.parametrize("sampling", ["random", "balanced"])
@pytest.mark.parametrize("fine_tune", [False, True])
def test_no_labels_are_enough(relu, new, sampling, fine_tune):
    X, Y = new
    chosen = LinearProbe(fine_tune=fine_tune)
    few = {"shots": (0,), "test_rows": np.arange(80, 160), "n_draws": 1}
    table = probe(relu, X, Y, probe=chosen, sampling=sampling, **few)
    score = table.set_index(["task", "features"])["score"].unstack()[KINDS]
    np.testing.assert_array_equal(score[["raw", "random"]], 0.5)
    np.testing.assert_allclose(score["representation"], score["no labels"], atol=1e-12)
    mean = relu.source_probabilities(X[80:]).mean(axis=1)
    expected = [roc_auc_score(y, mean) for y in Y[80:].T]
    np.testing.assert_allclose(score["no labels"], expected, atol=1e-12)
    listed = probe(relu, X.tolist(), Y, probe=chosen, sampling=sampling, **few)
    np.testing.assert_allclose(listed["score"], table["score"], atol=1e-12)


def test_the_mean_of_source_probabilities_is_a_probability(relu, new):
    X, Y = new
    table = probe(
        relu,
        X,
        Y[:, 0],
        shots=(0, 8),
        test_rows=np.arange(80, 160),
        baselines="no labels",
        scoring="neg_log_loss",
    )
    mean = relu.source_probabilities(X[80:]).mean(axis=1)
    none = table[table["features"] == "no labels"]
    assert len(none) == 4
    np.testing.assert_allclose(none["score"], -log_loss(Y[80:, 0], mean))


def test_what_has_no_source_tasks_has_no_such_baseline(numbered):
    table = probe(Unchanged(), *numbered, n_draws=1)
    assert table["features"].unique().tolist() == ["representation", "raw", "random"]


def test_labels_of_one_class_for_a_classifier_that_needs_both():
    X, y = np.arange(240)[:, None], (np.arange(240) % 10 == 0).astype(float)
    table = probe(
        Unchanged(),
        X,
        y,
        shots=(0, 1),
        n_draws=1,
        random_state=1,
        probe=LogisticRegression(),
        baselines=(),
        scoring="neg_log_loss",
    )
    share = np.array([0.5, 0.25])  # one negative label, and half of each class
    expected = 0.1 * np.log(share) + 0.9 * np.log(1 - share)
    np.testing.assert_allclose(table["score"], expected)
    accuracy = probe(
        Unchanged(), X, y, shots=0, probe=RidgeClassifier(), scoring="accuracy"
    )
    np.testing.assert_allclose(accuracy["score"], 0.9)


def test_other_baselines_see_raw_inputs(relu, new):
    X, Y = new
    neighbours = KNeighborsClassifier(3)
    table = probe(relu, X, Y, baselines={"neighbours": neighbours})
    assert table["features"].unique().tolist() == [*KINDS, "neighbours"]
    alone = probe(Unchanged(), X, Y, probe=neighbours, baselines=())
    assert_same_scores(
        alone.assign(features=""),
        table[table["features"] == "neighbours"].assign(features=""),
    )
    assert_same_scores(probe(relu, X, Y), table[table["features"] != "neighbours"])
    assert not hasattr(neighbours, "classes_")
    with pytest.raises(TypeError, match=r"baselines\['trees'\] should be a classifier"):
        probe(relu, X, Y, baselines={"trees": "forest"})


@pytest.mark.parametrize("baselines", ["raw", ["random"], ()])
def test_baselines_of_choice(relu, new, baselines):
    table = probe(relu, *new, baselines=baselines)
    expected = [baselines] if isinstance(baselines, str) else list(baselines)
    assert table["features"].unique().tolist() == ["representation", *expected]
    summary = table.summary()
    assert len(summary) == 2 * (1 + len(expected))
    assert len(table.report().splitlines()) == 2 * len(expected)
    whole = probe(relu, *new)
    kept = whole[whole["features"].isin(["representation", *expected])]
    assert_same_scores(kept, table)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"shots": (-1, 8)}, r"shots=\(-1, 8\).*at least 0"),
        ({"shots": ()}, r"shots=\(\).*at least 0"),
        ({"sampling": "even"}, "'sampling' parameter.*'balanced'"),
        ({"baselines": {"raw": LogisticRegression()}}, "baselines=.*Choose others"),
        ({"shots": (8.5,)}, "shots=.*ints"),
        ({"shots": "16"}, "shots='16'.*ints"),
        ({"shots": (16, None)}, "shots=.*ints"),
        ({"baselines": ("raw", "pca")}, r"baselines=.*'pca'.*'random'"),
        ({"n_draws": 0}, "'n_draws' parameter"),
        ({"test_size": 1.0}, "'test_size' parameter"),
        ({"scoring": "speed"}, "'speed'"),
        ({"scoring": []}, r"scoring=\[\] should be one or several"),
        ({"scoring": ["accuracy", "accuracy"]}, "scoring=.*different scorers"),
        ({"scoring": {"a": 3}}, "scoring holds 3 under 'a'"),
        ({"groups": [0, 1]}, r"groups should be of shape \(160,\).*got shape \(2,\)"),
        ({"verbose": "yes"}, "'verbose' parameter"),
    ],
)
def test_bad_parameters_are_named(relu, new, parameters, message):
    with pytest.raises(ValueError, match=message):
        probe(relu, *new, **parameters)


def test_labels_have_to_fit_the_rows(relu, new):
    X, Y = new
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        probe(relu, X, Y[:-1])
    with pytest.raises(ValueError, match="no observed label"):
        probe(relu, X, np.full_like(Y, np.nan))
    with pytest.raises(ValueError, match="continuous"):
        probe(relu, X, X[:, 0])


def test_pandas_is_asked_for_by_name(relu, new, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"probe_new_tasks requires pandas"):
        probe(relu, *new)
    with pytest.raises(ImportError, match=r'pip install "mtrl-sklearn\[probing\]"'):
        source_task_transfer(relu, *new)


def test_what_is_optional_is_not_needed():
    """A probe is fitted, and a Display made, where nothing optional is installed."""
    code = """if True:
        import sys

        class Missing:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in ("pandas", "matplotlib", "onnx", "dask"):
                    raise ImportError(name)

        sys.meta_path.insert(0, Missing())
        from mtrl_sklearn.plotting import LossCurveDisplay
        from mtrl_sklearn.probing import LinearProbe

        LossCurveDisplay([2, 1])
        LinearProbe().fit([[0.0], [1.0]], [0, 1]).predict([[0.5]])
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_progress_is_shown_on_request(relu, new, capsys):
    probe(relu, *new)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    probe(relu, *new, verbose=True)
    captured = capsys.readouterr()
    assert "3/3" in captured.err
    assert captured.out == ""


# --- claims ---

SEEDS = [0, *(pytest.param(k, marks=pytest.mark.slow) for k in (1, 2))]


@pytest.mark.parametrize("seed", SEEDS)
def test_gains_on_subspace_tasks(seed):
    X, Y, _, problem = make_subspace_tasks(1000, 50, n_tasks=24, random_state=seed)
    model = MultiTaskReLURepresentation(64, random_state=seed).fit(X, Y)
    new = problem.new_tasks(6, random_state=seed + 10).sample(400, random_state=seed)
    assert_gains(probe(model, *new, shots=(16, 128)), 0.06, 0.05)


@pytest.mark.parametrize("seed", SEEDS)
def test_gains_on_digits(seed):
    X, Y, Y_new, _ = make_digit_tasks(20, n_new_tasks=6, random_state=seed)
    model = MultiTaskReLURepresentation(64, random_state=seed).fit(X[:800], Y[:800])
    table = probe(model, X[800:], Y_new[800:], shots=(16, 128))
    assert_gains(table, 0.04, 0.01)


def assert_gains(table, at_16, at_128):
    summary = table.summary().set_index(["features", "shots"])
    for baseline in ("raw", "random"):
        of_few, of_many = summary.loc[(baseline, 16)], summary.loc[(baseline, 128)]
        assert of_few["gain"] > at_16
        assert of_few["tasks_won"] > 0.6
        assert of_few["labels_to_match"] > 32
        assert of_many["gain"] > at_128


def test_tables_survive_selection_and_pickling(relu, new):
    X, Y = new[0], new[1].copy()
    Y[:, 2] = np.nan
    table = probe(relu, X, Y)
    for copy in (pickle.loads(pickle.dumps(table)), table[table["shots"] == 16]):
        assert isinstance(copy, TransferTable)
        assert copy.skipped.equals(table.skipped)
    part = table[table["shots"] == 16].summary()
    whole = table.summary()
    columns = ["mean", "gain", "tasks_won"]
    expected = whole[whole["shots"] == 16][columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(part[columns].reset_index(drop=True), expected)
