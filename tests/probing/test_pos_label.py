"""The positive label of new tasks is the one that the representation has."""

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtrl_sklearn import MultiTaskReLURepresentation, load, save
from mtrl_sklearn.metrics import multitask_roc_auc_scorer
from mtrl_sklearn.probing import LinearProbe, ProbePrior, probe_new_tasks
from mtrl_sklearn.probing._blocks import pos_label_of_sources

PRIOR = ProbePrior(-2.0, 0.5, 1.5, 0.2, centre=0.5, scale=0.1)
quick = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
pytestmark = quick


def network(**parameters):
    return MultiTaskReLURepresentation(16, max_iter=4, random_state=0, **parameters)


def words(Y):
    return np.where(Y > 0, "active", "inactive")


@pytest.fixture(scope="module")
def relu(sources):
    return network(pos_label="active").fit(sources.X, words(sources.Y))


@pytest.fixture(scope="module")
def rows(sources):
    X, Y = sources.problem.new_tasks(3, random_state=1).sample(120, random_state=2)
    return X, Y > 0


SETTINGS = {
    "default": {},
    "prior": {"prior": PRIOR},
    "no prior": {"prior": None},
    "balanced": {"class_weight": "balanced", "prior": PRIOR},
    "tuned": {"fine_tune": True, "prior": PRIOR},
}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("n_labels", [0, 8, 60])
def test_words_give_the_probabilities_of_booleans(relu, rows, settings, n_labels):
    X, Y = rows
    y, parameters = Y[:n_labels, 0], SETTINGS[settings]
    weights = np.arange(1.0, n_labels + 1)
    known = LinearProbe(relu, **parameters).fit(X[:n_labels], y, weights, [False, True])
    probe = LinearProbe(relu, **parameters)
    probe.fit(X[:n_labels], words(y), weights, ["active", "inactive"])
    assert probe.classes_.tolist() == ["active", "inactive"]
    expected = known.predict_proba(X)[:, ::-1]
    np.testing.assert_array_equal(probe.predict_proba(X), expected)
    np.testing.assert_array_equal(
        probe.decision_function(X), -known.decision_function(X)
    )
    if parameters.get("prior", True) or n_labels:  # else all scores are 0
        np.testing.assert_array_equal(probe.predict(X), words(known.predict(X)))
        assert probe.score(X, words(Y[:, 0])) == known.score(X, Y[:, 0])
    for name, coef in known.coef_.items():
        np.testing.assert_array_equal(probe.coef_[name], -coef)
    for name, layer in known.first_layer_.items():
        np.testing.assert_array_equal(probe.first_layer_[name], layer)
    assert probe.C_ == known.C_


def test_without_labels_the_prior_speaks_of_the_positive_label(relu, rows):
    X, _ = rows
    names = ["active", "inactive"]
    probe = LinearProbe(relu, prior=PRIOR).fit(X[:0], [], classes=names)
    mean = relu.source_probabilities(X).mean(axis=1)
    log_odds = -2.0 + 1.5 * (mean - 0.5) / 0.1
    np.testing.assert_allclose(probe.decision_function(X), -log_odds, rtol=1e-6)


def test_scorers_see_sorted_classes(relu, rows):
    X, Y = rows
    y, active = words(Y[:, 0]), Y[:, 0]
    for scoring in ("roc_auc", "neg_log_loss", multitask_roc_auc_scorer):
        probe = LinearProbe(relu, prior=PRIOR)
        found = cross_val_score(probe, X, y, cv=3, scoring=scoring)
        expected = cross_val_score(probe, X, active, cv=3, scoring=scoring)
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_columns_are_turned_one_by_one(relu, rows):
    X, Y = rows
    colours = np.array(["red", "green", "active"])[np.arange(len(X)) % 3]
    frame = pd.DataFrame(
        {
            "a": words(Y[:, 0]),
            "b": np.where(Y[:, 1], "yes", "no"),
            "c": np.where(Y[:, 2], "active", "Inactive"),  # sorts last
            "d": colours,
            "e": Y[:, 0],
        }
    ).astype(object)
    frame.loc[20:, "a"] = None
    known = frame.assign(a=[None if v is None else v == "active" for v in frame["a"]])
    probe = LinearProbe(relu, prior=PRIOR).fit(X, frame)
    other = LinearProbe(relu, prior=PRIOR).fit(X, known)
    assert [c.tolist() for c in probe.classes_[:2]] == [
        ["active", "inactive"],
        ["no", "yes"],
    ]
    factors = np.array([-1, *[1] * 6])
    scores = other.decision_function(X)
    np.testing.assert_array_equal(probe.decision_function(X), factors * scores)
    single = LinearProbe(relu, prior=PRIOR).fit(X[:20], frame["a"][:20])
    np.testing.assert_allclose(
        probe.predict_proba(X)[:, 0], single.predict_proba(X)[:, 1], atol=1e-9
    )
    np.testing.assert_array_equal(probe.predict(X)[:, 0] == "active", scores[:, 0] > 0)
    assert probe.score(X, frame) == pytest.approx(other.score(X, known), abs=1e-12)


@pytest.mark.parametrize("kind", ["pipeline", "frozen", "steps after", "saved"])
def test_the_label_is_found_in_what_holds_the_representation(
    relu, rows, kind, tmp_path
):
    X, Y = rows
    held = {
        "pipeline": lambda: make_pipeline(StandardScaler().fit(X), relu),
        "frozen": lambda: FrozenEstimator(relu),
        "steps after": lambda: make_pipeline(relu, PCA(4).fit(relu.transform(X))),
        "saved": lambda: relu,
    }[kind]()
    assert pos_label_of_sources(held) == "active"
    y = Y[:8, 0]
    probe = LinearProbe(held, prior=PRIOR).fit(X[:8], words(y))
    expected = LinearProbe(held, prior=PRIOR).fit(X[:8], y).predict_proba(X)[:, ::-1]
    if kind == "saved":
        save(probe, tmp_path / "probe.safetensors")
        probe = load(tmp_path / "probe.safetensors")
        assert probe.fit(X[:8], words(y)) is probe
    np.testing.assert_array_equal(probe.predict_proba(X), expected)


def refit(sources, pos_label):
    Y = sources.Y.copy()
    if pos_label == "active":
        return network(pos_label=pos_label).fit(sources.X, words(Y))
    if pos_label in (0, False):
        Y = 1 - Y
    Y = Y.astype(bool) if pos_label is False else Y
    return network(pos_label=pos_label).fit(sources.X, Y)


@pytest.mark.parametrize(
    ("pos_label", "dtype", "is_turned"),
    [
        (0, int, True),
        (0.0, int, True),
        (0, float, True),
        (0, bool, False),  # those who make booleans say which are positive
        (0, str, False),
        (1, int, False),
        (False, bool, True),
        (None, int, False),
        ({"task0": 0}, int, False),
    ],
)
def test_labels_are_those_of_the_sources(sources, rows, pos_label, dtype, is_turned):
    relu, (X, Y) = refit(sources, pos_label), rows
    y = Y[:8, 0].astype(dtype)
    probe = LinearProbe(relu, prior=PRIOR).fit(X[:8], y)
    known = LinearProbe(relu, prior=PRIOR).with_signs(relu)
    known.fit(X[:8], Y[:8, 0] != is_turned, classes=[False, True])
    factor = -1 if is_turned else 1
    np.testing.assert_array_equal(
        probe.decision_function(X), factor * known.decision_function(X)
    )


@pytest.mark.parametrize("tune", [False, True])
def test_probe_new_tasks_takes_the_label(sources, rows, tune):
    X, Y = rows
    options = {"shots": (0, 8), "n_draws": 1, "random_state": 0}
    options["probe"] = LinearProbe(prior=PRIOR, fine_tune=tune)
    options["scoring"] = ["roc_auc", "neg_log_loss"]
    relu = network(pos_label="active").fit(sources.X, words(sources.Y))
    expected = probe_new_tasks(relu, X, Y, **options)
    mixed = pd.DataFrame(words(Y)).assign(**{"1": Y[:, 1]}).drop(columns=[1])
    mixed = mixed.rename(columns=str)[["0", "1", "2"]]
    for labels in (words(Y), mixed):
        table = probe_new_tasks(relu, X, labels, **options)
        np.testing.assert_array_equal(table["score"], expected["score"])
    by_number = refit(sources, 0)
    table = probe_new_tasks(by_number, X, 1 - Y.astype(int), **options)
    np.testing.assert_array_equal(table["score"], expected["score"])


def test_what_is_no_network_has_no_label(rows):
    X, Y = rows
    pca = PCA(4).fit(X)
    pca.pos_label = "active"
    assert pos_label_of_sources(pca) is None
    assert pos_label_of_sources(None) is None
    probe = LinearProbe(pca, C=1.0).fit(X, words(Y[:, 0]))
    known = LinearProbe(pca, C=1.0).fit(X, ~Y[:, 0])
    np.testing.assert_array_equal(probe.predict_proba(X), known.predict_proba(X))


@pytest.mark.parametrize("pos_label", [0, False])
@pytest.mark.parametrize("kind", [bool, int, float])
def test_labels_of_the_kind_of_the_sources_have_their_positive_one(
    sources, rows, pos_label, kind
):
    """0 and False are the same to the sources; of new tasks either may be asked for."""
    X, Y = rows
    negative = network(pos_label=pos_label).fit(sources.X, sources.Y.astype(kind))
    positive = network().fit(sources.X, 1 - sources.Y)
    expected = LinearProbe(positive, prior=PRIOR).fit(X[:8], 1 - Y[:8, 0].astype(int))
    found = LinearProbe(negative, prior=PRIOR).fit(X[:8], Y[:8, 0].astype(kind))
    np.testing.assert_allclose(
        found.predict_proba(X), expected.predict_proba(X)[:, ::-1], rtol=1e-6
    )
