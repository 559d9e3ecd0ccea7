"""Settings of a probe, and calibrate, which learns them."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtrl_sklearn import ConvMultiTaskClassifier, MultiTaskReLURepresentation
from mtrl_sklearn.datasets import make_patch_tasks, make_subspace_tasks
from mtrl_sklearn.probing import LinearProbe, ProbeSettings, _calibration, calibrate
from mtrl_sklearn.probing._blocks import Blocks
from mtrl_sklearn.probing._draws import Draw, FreshSplit, draw_rows
from mtrl_sklearn.probing._products import move_blocks
from mtrl_sklearn.probing._settings_search import (
    average_settings,
    grid,
    score_settings,
)
from mtrl_sklearn.probing._sources import find_groups, read_sources


@pytest.fixture(scope="module")
def sources():
    return make_subspace_tasks(500, 40, n_components=3, n_tasks=16, random_state=0)


@pytest.fixture(scope="module")
def small():
    X, Y, *_ = make_subspace_tasks(150, 8, n_components=2, n_tasks=6, random_state=0)
    return X, Y


def quick(**parameters):
    """An estimator that trains for a moment."""
    defaults = {"n_hidden": 8, "algorithm": "one_step", "random_state": 0}
    return MultiTaskReLURepresentation(**{**defaults, **parameters})


def calibrate_quickly(estimator, X, Y, groups_of_tasks=None, **parameters):
    defaults = {"shots": (8, 16), "n_draws": 1, "n_groups": 2, "random_state": 0}
    return calibrate(estimator, X, Y, groups_of_tasks, **{**defaults, **parameters})


# --- settings ---


@pytest.fixture
def settings():
    return ProbeSettings(
        (16, 64, 128), ((0.2, 0.8, 0.0), (0.6, 0.2, 0.2), (1.0, 0.0, 0.0)), (1, 4, 0.5)
    )


def test_settings_at_known_numbers_of_labels(settings):
    for n_labels, weights, C in zip(settings.n_labels, settings.weights, settings.C):
        of_blocks, found = settings.at(n_labels)
        assert list(of_blocks) == ["hidden", "probabilities", "inputs"]
        np.testing.assert_allclose(list(of_blocks.values()), weights)
        assert found == pytest.approx(C)


def test_settings_between_are_linear_in_the_logarithm(settings):
    weights, C = settings.at(32)
    np.testing.assert_allclose(list(weights.values()), [0.4, 0.5, 0.1])
    assert pytest.approx(2) == C
    share = np.log(100 / 64) / np.log(2)
    weights, C = settings.at(100)
    assert weights["hidden"] == pytest.approx(0.6 + 0.4 * share)
    assert pytest.approx(4 * 8**-share) == C
    for n_labels in (2, 17, 50, 100, 1000):
        assert sum(settings.at(n_labels)[0].values()) == pytest.approx(1)


def test_settings_beyond_stay_as_they_are(settings):
    assert settings.at(2) == settings.at(16)
    assert settings.at(10**6) == settings.at(128)
    one = ProbeSettings((16,), ((0, 1, 0),), (2,))
    assert (
        one.at(5) == one.at(500) == ({"hidden": 0, "probabilities": 1, "inputs": 0}, 2)
    )


@pytest.mark.parametrize(
    ("n_labels", "weights", "C"),
    [
        ((64, 16), ((1, 0, 0), (0, 1, 0)), (1, 2)),  # not ascending
        ((16, 64), ((1, 0, 0),), (1, 2)),
        ((16,), ((1, 0, 0),), (1, 2)),
        ((16,), ((1, 0),), (1,)),
        ((16,), ((1, -1, 1),), (1,)),
        ((16,), ((1, 0, 0),), (0,)),
        ((), (), ()),
    ],
)
def test_settings_that_make_no_sense_are_refused(n_labels, weights, C):
    with pytest.raises(ValueError, match=r"n_labels|weights|C"):
        ProbeSettings(n_labels, weights, C)


# --- the closed form ---


@pytest.mark.parametrize("offset", [0, 1e3])
@pytest.mark.parametrize("n_labels", [(10,), (12, 40)])
def test_closed_form_is_ridge_regression_on_scaled_blocks(n_labels, offset):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((140, 6))
    hidden = np.maximum(X @ rng.standard_normal((6, 25)), 0)
    signs = np.where(X[:, 0] + hidden[:, 1] + rng.standard_normal(140) > 1, 1, -1)
    blocks = Blocks(3 * hidden, None, X + offset)
    rows = rng.permutation(140)
    few = {k: rows[:k] for k in n_labels}
    found = score_settings(move_blocks(blocks, rows), signs, Draw(few, rows[40:], {}))
    weights, strengths = grid(2)
    assert len(weights) == len(strengths) == len(found[n_labels[0]])
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    for k, train in few.items():
        for score, of_blocks, strength in zip(found[k], weights, strengths):
            Z = np.hstack(
                [
                    np.sqrt(weight)
                    * (block - block[train].mean(axis=0))
                    / np.sqrt(np.var(block[train], axis=0).sum())
                    for weight, block in zip(of_blocks, blocks.present.values())
                ]
            )
            ridge = Ridge(alpha=4 / strength, solver="svd")
            ridge.fit(Z[train], signs[train])
            expected = roc_auc_score(signs[rows[40:]], ridge.predict(Z[rows[40:]]))
            # rounding may swap rows of nearly equal scores
            assert score == pytest.approx(expected, abs=2e-3)


# --- what calibrate learns ---


def test_source_tasks_get_weight_where_they_help(sources):
    estimator = MultiTaskReLURepresentation(32, random_state=0)
    settings = calibrate_quickly(estimator, sources.X, sources.Y, shots=(16, 64))
    assert settings.n_labels == (16, 64)
    for hidden, scores, inputs in settings.weights:
        assert hidden + scores + inputs == pytest.approx(1)
        assert inputs < 0.15
    assert min(settings.C) > 0.2  # the least and the largest that are tried
    assert max(settings.C) < 25
    probe = LinearProbe(estimator.fit(sources.X, sources.Y), settings=settings)
    X, Y = sources.problem.new_tasks(1, random_state=1).sample(300, random_state=2)
    probe.fit(X[:64], Y[:64, 0])
    raw = LinearProbe().fit(X[:64], Y[:64, 0])
    assert probe.score(X[64:], Y[64:, 0]) > raw.score(X[64:], Y[64:, 0])


def test_inputs_get_weight_where_source_tasks_do_not_help():
    """Each task depends on an input that no other task uses."""
    X = np.random.default_rng(0).standard_normal((500, 24))
    estimator = MultiTaskReLURepresentation(32, random_state=0)
    settings = calibrate_quickly(estimator, X, X[:, :12] > 0, shots=(16, 64))
    for *_, inputs in settings.weights:
        assert inputs > 0.7


@pytest.mark.slow  # starts processes that import torch
def test_number_of_processes_does_not_matter(small):
    one, two = (calibrate_quickly(quick(), *small, n_jobs=k) for k in (1, 2))
    assert one == two
    assert one != calibrate_quickly(quick(), *small, random_state=1)


def test_the_given_estimator_is_not_changed(small):
    estimator = quick()
    calibrate_quickly(estimator, *small)
    assert not hasattr(estimator, "hidden_weights_")
    fitted = clone(estimator).fit(*small)
    before = fitted.hidden_weights_.copy()
    expected = calibrate_quickly(estimator, *small)
    assert calibrate_quickly(fitted, *small) == expected
    assert calibrate_quickly(FrozenEstimator(fitted), *small) == expected
    np.testing.assert_array_equal(fitted.hidden_weights_, before)


def test_units_and_origin_of_inputs_do_not_matter(small):
    X, Y = small
    base = calibrate_quickly(quick(), X, Y)
    for scale, shift in ((1e10, 0), (1e-10, 0), (1, 1e5)):
        moved = calibrate_quickly(quick(), scale * X + shift, Y)
        np.testing.assert_allclose(moved.weights, base.weights, atol=0.02)
        np.testing.assert_allclose(moved.C, base.C, rtol=0.05)


@pytest.mark.parametrize(
    "groups",
    [
        np.array([0, 0, 0, 1, 1, 1]),
        pd.Series(list("aaabbb")),
        [["task0", "task1", "task2"], ["task3", "task4", "task5"]],
        [[0, 1, 2], [3, 4, 5]],
        [np.array([0, 1, 2]), (3, 4, 5)],
    ],
)
def test_forms_of_groups(small, groups):
    expected = calibrate_quickly(quick(), *small, ["x", "x", "x", "y", "y", "y"])
    assert calibrate_quickly(quick(), *small, groups) == expected


def to_long(X, Y):
    rows, columns = np.nonzero(~np.isnan(Y))
    return X[rows], Y[rows, columns], np.array([f"task{k}" for k in columns])


def test_long_form(small):
    X, y, tasks = to_long(*small)
    groups = [["task0", "task1", "task2"], ["task3", "task4", "task5"]]
    settings = calibrate_quickly(quick(), X, y, groups, tasks=tasks)
    assert settings.n_labels == (8, 16)
    words = np.where(y == 1, "yes", "no").tolist()
    again = calibrate_quickly(quick(), X, words, groups, tasks=tasks.tolist())
    assert again == settings


@pytest.mark.parametrize("n_tasks", [4, 25, 40])
def test_groups_are_found_where_no_row_has_labels_of_two_tasks(n_tasks):
    """Such tasks are all equally far from each other."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40 * n_tasks, 4))
    tasks = np.repeat(np.arange(n_tasks), 40)
    settings = calibrate_quickly(
        quick(), X, X[:, 0] > 0, tasks=tasks, shots=(8,), n_groups=3
    )
    assert settings.n_labels == (8,)


SIGNS = np.repeat([1, -1, 0], [8, 12, 4])


def test_enough_rows_held_out_are_what_is_tested():
    is_test = np.arange(24) % 3 > 0
    split = FreshSplit(is_test, np.ones(24, dtype=bool), np.arange(24))
    rows = np.flatnonzero(SIGNS)
    train, test = split(rows, SIGNS[rows], np.random.default_rng(0))
    np.testing.assert_array_equal(test, rows[is_test[rows]])
    np.testing.assert_array_equal(train, rows[~is_test[rows]])


@pytest.mark.parametrize("n_fresh", [24, 22])
def test_fresh_rows_are_tested_where_few_are_held_out(n_fresh):
    """Five eighths of either class, the smallest share with five of the rarer one."""
    is_fresh = np.arange(24) >= 24 - n_fresh
    split = FreshSplit(np.arange(24) % 4 == 0, is_fresh, np.arange(24))
    rows = np.flatnonzero(SIGNS)
    tested = set()
    for seed in range(3):
        train, test = split(rows, SIGNS[rows], np.random.default_rng(seed))
        assert sorted([*train, *test]) == rows.tolist()
        assert np.bincount(SIGNS[test] + 1).tolist() == [8, 0, 5]
        assert is_fresh[test].all()
        tested.add(tuple(test))
    assert len(tested) == 3


def test_copies_of_a_fresh_row_are_tested_together():
    inputs = np.arange(24) // 2
    split = FreshSplit(np.zeros(24, dtype=bool), np.ones(24, dtype=bool), inputs)
    rows = np.flatnonzero(SIGNS)
    train, test = split(rows, SIGNS[rows], np.random.default_rng(0))
    assert not set(inputs[train]) & set(inputs[test])
    assert sorted([*train, *test]) == rows.tolist()


def test_too_few_fresh_rows_are_no_problem():
    split = FreshSplit(np.zeros(24, dtype=bool), np.arange(24) >= 4, np.arange(24))
    draw = draw_rows(SIGNS, (4,), split, np.random.default_rng(0), "random")
    assert draw.missing == {4: "a class has 4 test rows, 5 are needed"}


def test_fresh_rows_have_no_label_that_was_trained_on():
    """The last task is left out: of its inputs 2 is trained on, and 3 is held out."""
    y, tasks = np.tile([0, 1], 5), np.repeat([0, 1, 2], [2, 4, 4])
    rows = np.array([0, 1, 0, 1, 2, 3, 2, 3, 4, 5])
    sources = read_sources(np.arange(6.0)[:, None], y, tasks, rows=rows)
    is_test = np.isin(sources.inputs, [3])
    fresh = _calibration._find_fresh(sources, np.array([False, False, True]), is_test)
    np.testing.assert_array_equal(fresh.is_fresh, rows >= 3)


def test_tasks_that_share_no_rows_are_all_tested(monkeypatch):
    """Of 30 rows a quarter, which is held out, shows hardly any class five times."""
    n_labels = []

    def count_labels(shared, positive, tasks):
        n_labels.append(len(tasks))
        return find_effects(shared, positive, tasks)

    find_effects = _calibration.find_effects
    monkeypatch.setattr(_calibration, "find_effects", count_labels)
    X = np.random.default_rng(0).standard_normal((180, 4))
    tasks = np.repeat(np.arange(6), 30)
    settings = calibrate_quickly(quick(), X, X[:, 0] > 0, tasks=tasks, shots=(8,))
    assert len(settings.reached.roc_auc[1]) == 6
    assert n_labels[0] + n_labels[1] == n_labels[2] == 180  # of each group, and of both


def test_groups_are_found_among_equal_tasks(small):
    X, Y = small
    assert calibrate_quickly(quick(), X, Y[:, [0] * 30], shots=(8,)).n_labels == (8,)


def with_unusable(Y):
    """Columns that do not show both classes, before, between and after the others."""
    nothing, ones = np.full(len(Y), np.nan), np.ones(len(Y))
    return np.c_[nothing, Y[:, :2], ones, nothing, Y[:, 2:], 0 * ones, nothing]


@pytest.mark.parametrize("n_groups", [2, 6])
def test_tasks_without_both_classes_have_no_part(small, n_groups):
    X, Y = small
    expected = calibrate_quickly(quick(), X, Y, n_groups=n_groups)
    more = with_unusable(Y)
    assert calibrate_quickly(quick(), X, more, n_groups=n_groups) == expected
    expected = calibrate_quickly(quick(), *to_long(*small)[:2], tasks=to_long(X, Y)[2])
    X, y, tasks = to_long(X, np.c_[Y, Y[:, 0] * 0, Y[:, 1] * 0 + 1])
    assert calibrate_quickly(quick(), X, y, tasks=tasks) == expected


def test_given_groups_count_tasks_that_show_both_classes(small):
    X, Y = small
    expected = calibrate_quickly(quick(), X, Y, [0, 0, 1, 1, 2, 2])
    groups = [7, 0, 0, 7, 1, 1, 1, 2, 2, 0, 8]  # 7 and 8 have no other tasks
    assert calibrate_quickly(quick(), X, with_unusable(Y), groups) == expected
    with pytest.raises(ValueError, match=r"groups_of_tasks.*of the 6 of 11 tasks"):
        calibrate_quickly(quick(), X, with_unusable(Y), [1, *[0] * 9, 1])


def test_numbers_of_labels_that_no_task_has_are_left_out(small):
    assert calibrate_quickly(quick(), *small, shots=(8, 1000)).n_labels == (8,)
    with pytest.raises(ValueError, match=r"No source task has enough labels.*shots"):
        calibrate_quickly(quick(), *small, shots=(1000,))


def test_missing_labels_and_other_estimators(small):
    X, Y = small
    Y = np.where(np.random.default_rng(0).random(Y.shape) < 0.3, np.nan, Y)
    pipeline = make_pipeline(StandardScaler(), quick())
    for estimator in (quick(), pipeline, quick(output="scores"), quick(loss="hinge")):
        settings = calibrate_quickly(estimator, X, Y)
        assert np.sum(settings.weights, axis=1) == pytest.approx(1)
    plain = calibrate_quickly(PCA(3), X, Y)
    assert [scores for _, scores, _ in plain.weights] == [0, 0]


def test_convolutional_networks():
    X, y, tasks, *_ = make_patch_tasks(60, n_tasks=4, random_state=0)
    estimator = ConvMultiTaskClassifier(8, random_state=0)
    settings = calibrate_quickly(estimator, X, y, tasks=tasks)
    assert settings.n_labels == (8, 16)
    X, tasks = np.r_[X, X[:40]], np.r_[tasks, [-2, -1, 8, 9] * 10]
    y = np.r_[y, [y[0]] * 40]  # four more tasks, of one class
    assert calibrate_quickly(estimator, X, y, tasks=tasks) == settings


def test_pipelines_that_end_in_a_frozen_estimator_train_it_anew(small):
    """A representation that knows the tasks left out would be flattered."""
    frozen = make_pipeline(FrozenEstimator(quick().fit(*small)))
    expected = calibrate_quickly(make_pipeline(quick()), *small)
    assert calibrate_quickly(frozen, *small) == expected


class Recorder(TransformerMixin, BaseEstimator):
    """Keeps the labels it was fitted on."""

    fits = []

    def fit(self, X, y):
        self.n_features_in_ = X.shape[1]
        Recorder.fits.append((np.asarray(X), np.asarray(y)))
        return self

    def transform(self, X):
        return X


def test_each_group_is_left_out_once(small):
    X, Y = small
    Recorder.fits = []
    calibrate_quickly(Recorder(), X, Y, [[0], [1, 2], [3, 4, 5]])
    groups = ([0], [1, 2], [3, 4, 5])
    for (inputs, labels), left_out in zip(Recorder.fits, groups, strict=True):
        rows = [X[:, 0].tolist().index(value) for value in inputs[:, 0]]
        assert len(set(rows)) == len(X) - int(np.ceil(len(X) / 4))
        np.testing.assert_array_equal(labels, np.delete(Y[rows], left_out, axis=1))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([0, 1], r"groups_of_tasks has 2 entries.*6 tasks"),
        ([0] * 6, "groups_of_tasks=.*at least two groups"),
        ([list(range(6))], "groups_of_tasks=.*at least two groups"),
        ([[], [1]], "groups_of_tasks=.*at least two groups"),
        ([["task0"], ["nose"]], "groups_of_tasks names 'nose'"),
        ([[0], [6]], "groups_of_tasks names 6"),
    ],
)
def test_bad_groups_are_refused(small, groups, message):
    with pytest.raises(ValueError, match=message):
        calibrate_quickly(quick(), *small, groups)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_groups": 1}, "'n_groups' parameter.*Got 1"),
        ({"n_draws": 0}, "'n_draws' parameter.*Got 0"),
        ({"shots": (0,)}, r"shots=\(0,\).*at least 1"),
        ({"random_state": "now"}, "'random_state' parameter"),
    ],
)
def test_bad_parameters_are_named(small, parameters, message):
    with pytest.raises(ValueError, match=message):
        calibrate_quickly(quick(), *small, **parameters)


def test_a_single_task_is_refused(small):
    X, Y = small
    with pytest.raises(ValueError, match=r"1 task.*at least 2"):
        calibrate_quickly(quick(), X, Y[:, 0])
    with pytest.raises(ValueError, match=r"2 tasks, of which 1 show labels of both"):
        calibrate_quickly(quick(), X, np.c_[Y[:, 0], np.ones(len(Y))], [[0], [1]])


def test_progress_is_shown_on_request(small, capsys):
    calibrate_quickly(quick(), *small)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    calibrate_quickly(quick(), *small, verbose=True)
    assert "2/2" in capsys.readouterr().err


def test_groups_keep_a_task_and_its_opposite_together():
    labels = np.random.default_rng(0).standard_normal((400, 9)) > 0
    Y = np.hstack([labels, ~labels])
    groups = find_groups(read_sources(np.zeros((400, 1)), Y, None), 3, 0)
    np.testing.assert_array_equal(groups[:9], groups[9:])


def test_groups_of_tasks_that_form_a_chain_have_about_one_size():
    angles = np.linspace(0, np.pi, 90)
    X = np.random.default_rng(0).standard_normal((800, 2))
    Y = X @ np.array([np.cos(angles), np.sin(angles)]) > 0
    sizes = np.bincount(find_groups(read_sources(X, Y, None), 3, 0))
    assert sizes.max() <= 2 * sizes.min()


def test_settings_that_do_about_equally_well_are_averaged():
    """The strength 1 is best, 5 is behind by .01, and others are far behind."""
    scores = np.full(4, 0.5)
    scores[[1, 2]] = 0.7, 0.69
    settings = average_settings({16: [scores]}, ["hidden"])
    share = 1 / (1 + np.e)
    expected = 5**share
    np.testing.assert_allclose(settings.C, expected, rtol=1e-6)
    np.testing.assert_allclose(settings.weights, [[1, 0, 0]])


@pytest.mark.parametrize("steps", [[], [StandardScaler()]])
def test_networks_without_a_group_train_for_less_long(small, steps, monkeypatch):
    """And do not warn that they might go on."""
    epochs, fit = [], MultiTaskReLURepresentation.fit

    def note_epochs(self, X, y, tasks=None):
        epochs.append(self.max_iter)
        return fit(self, X, y, tasks)

    monkeypatch.setattr(MultiTaskReLURepresentation, "fit", note_epochs)
    estimator = quick(algorithm="alternating", max_iter=6)
    calibrate_quickly(make_pipeline(*steps, estimator), *small)
    assert epochs == [2, 2]
    assert estimator.max_iter == 6
