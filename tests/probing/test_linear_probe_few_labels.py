"""LinearProbe with few labels: the prior, no labels, one class, weights, columns."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import t as student
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mtrl_sklearn import load, save
from mtrl_sklearn.probing import LinearProbe, ProbePrior, ProbeSettings
from mtrl_sklearn.probing._map_logistic import TAIL, WIDE

PRIOR = ProbePrior(-1.0, 0.7, 0.9, 0.3, centre=0.4, scale=0.1)


@pytest.fixture(scope="module")
def rows(sources):
    X, Y = sources.problem.new_tasks(6, random_state=1).sample(200, random_state=2)
    return X, Y.astype(int)


def shared(relu, X, prior=PRIOR):
    return (relu.source_probabilities(X).mean(axis=1) - prior.centre) / prior.scale


def test_without_labels_the_prior_predicts(relu, rows):
    X, _ = rows
    probe = LinearProbe(relu, prior=PRIOR).fit(X[:0], [], classes=["no", "yes"])
    np.testing.assert_array_equal(probe.classes_, ["no", "yes"])
    expected = expit(-1 + 0.9 * shared(relu, X))
    np.testing.assert_allclose(probe.predict_proba(X)[:, 1], expected, rtol=1e-9)


@pytest.mark.parametrize("n_labels", [1, 9, 60])
@pytest.mark.parametrize("one_class", [False, True])
def test_scores_are_the_most_probable_ones(relu, rows, n_labels, one_class):
    """By a general minimiser on coefficients of features that are scaled here."""
    X, Y = rows
    X_few, y = X[:n_labels], Y[:n_labels, 0] * (not one_class)
    probe = LinearProbe(relu, prior=PRIOR, C=1.5).fit(X_few, y, classes=[0, 1])
    parts, tests = [], []
    for name, weight in probe.weights_.items():
        method = {"hidden": relu.transform, "probabilities": relu.source_probabilities}
        block, test = (method.get(name, np.asarray)(Z) for Z in (X_few, X))
        mean = block.mean(axis=0)
        norm = np.sqrt(((block - mean) ** 2).sum(axis=1).mean()) or np.inf
        parts.append(np.sqrt(weight) / norm * (block - mean))
        tests.append(np.sqrt(weight) / norm * (test - mean))
    Z, Z_test = np.hstack(parts), np.hstack(tests)
    s = shared(relu, X_few)

    def loss(f):
        return np.logaddexp(0, f).sum() - y @ f

    def objective(v):
        w, beta, b = v[:-2], v[-2], v[-1]
        ridge = w @ w / 1.5 + ((beta - 0.9) / 0.3) ** 2 + ((b + 1) / WIDE) ** 2
        return loss(b + beta * s + Z @ w) + ridge / 2

    v = minimize(objective, np.zeros(Z.shape[1] + 2), options={"gtol": 1e-9}).x
    rest = v[-2] * s + Z @ v[:-2]
    b = minimize(
        lambda b: loss(b + rest) - student.logpdf(b[0], TAIL, -1.0, 0.7), v[-1:]
    ).x[0]
    expected = b + v[-2] * shared(relu, X) + Z_test @ v[:-2]
    np.testing.assert_allclose(probe.decision_function(X), expected, atol=1e-4)


def test_many_labels_are_solved_alike(relu, sources, monkeypatch):
    X, Y = sources.problem.new_tasks(1, random_state=1).sample(300, random_state=2)
    y = Y[:, 0].astype(int)
    weights = np.random.default_rng(0).integers(1, 4, len(y))
    for prior in (PRIOR, None):
        probe = LinearProbe(relu, prior=prior)
        dual = probe.fit(X, y, weights).decision_function(X)
        monkeypatch.setattr("mtrl_sklearn.probing._map_logistic.MAX_DUAL", 10)
        primal = probe.fit(X, y, weights).decision_function(X)
        monkeypatch.undo()
        np.testing.assert_allclose(primal, dual, atol=2e-3)


def test_prior_of_the_representation_and_of_settings(relu, rows):
    X, Y = rows
    few = X[:20], Y[:20, 0]
    own = LinearProbe(relu).fit(*few)
    assert own.prior_ == relu.probe_prior_
    settings = ProbeSettings((16,), ((0.5, 0.5, 0),), (1,), PRIOR)
    probe = LinearProbe(relu, settings=settings).fit(*few)
    kept = {k: relu.probe_prior_[k] for k in ("centre", "scale")}
    assert probe.prior_ == vars(PRIOR) | kept
    assert LinearProbe(relu, prior=None).fit(*few).prior_ is None
    frozen = make_pipeline(StandardScaler().fit(X), FrozenEstimator(relu))
    assert LinearProbe(frozen).fit(*few).prior_ == relu.probe_prior_
    for other in (PCA(2).fit(X), None):
        assert LinearProbe(other, settings=settings).fit(*few).prior_ is None
        with pytest.raises(ValueError, match=r"prior=.*probabilities of source tasks"):
            LinearProbe(other, prior=PRIOR).fit(*few)


@pytest.mark.parametrize("kind", ["raw", "pca", "pipeline", "relu without", "frame"])
def test_without_a_prior_one_class_and_no_labels_say_how_often(relu, rows, kind):
    X, _ = rows
    made = {
        "pca": PCA(2).fit(X),
        "pipeline": make_pipeline(StandardScaler(), PCA(2)).fit(X),
        "relu without": relu,
    }
    X = pd.DataFrame(X).rename(columns=str) if kind == "frame" else X
    probe = LinearProbe(made.get(kind), prior=None)
    probe.fit(X[:0], [], classes=[0, 1])
    np.testing.assert_allclose(probe.predict_proba(X), 0.5)
    probe.fit(X[:3], [1, 1, 1])
    np.testing.assert_allclose(probe.predict_proba(X)[:, 1], 3.5 / 4)
    probe.fit(X[:0], [], classes=list("abc"))
    np.testing.assert_allclose(probe.predict_proba(X), 1 / 3)
    probe.fit(X[:3], list("aba"), classes=list("abc"))
    found = probe.predict_proba(X)
    assert found.shape == (len(X), 3)
    assert (found[:, 2] > 0).all()


@pytest.mark.parametrize(
    ("y", "classes"),
    [([0], [0, 1]), ([1.0], [0, 1]), ([True], [False, True]), ([-1], [-1, 1])],
)
def test_the_other_class_follows(relu, rows, y, classes):
    probe = LinearProbe(relu).fit(rows[0][:1], y)
    assert probe.classes_.tolist() == classes


@pytest.mark.parametrize(
    ("y", "classes", "message"),
    [
        (["a"], None, "1 class.*does not follow.*classes="),
        ([2], None, "1 class.*does not follow.*classes="),
        ([], None, "no label.*classes="),
        (["c"], ["a", "b"], r"label 'c'.*not among classes=\['a', 'b'\]"),
        ([0], [0], "classes shows 1 class"),
        (np.full((1, 2), np.nan), None, "no observed label.*classes="),
    ],
)
def test_classes_that_do_not_follow_are_refused(relu, rows, y, classes, message):
    with pytest.raises(ValueError, match=message):
        LinearProbe(relu).fit(rows[0][: len(y)], y, classes=classes)


@pytest.mark.parametrize("prior", ["auto", None])
@pytest.mark.parametrize("kind", ["two", "three"])
def test_integer_weights_are_repeated_rows(relu, rows, prior, kind):
    X, Y = rows
    y = Y[:30, 0] + (kind == "three") * Y[:30, 1]
    weights = np.random.default_rng(0).integers(0, 4, 30)
    settings = ProbeSettings((16, 64), ((0.5, 0.5, 0), (0, 0.5, 0.5)), (0.1, 10))
    probe = LinearProbe(relu, settings=settings, prior=prior)
    probe.set_params(class_weight="balanced")
    weighted = probe.fit(X[:30], y, weights).decision_function(X)
    C = probe.C_
    repeated = probe.fit(np.repeat(X[:30], weights, 0), np.repeat(y, weights))
    assert pytest.approx(C) == probe.C_
    np.testing.assert_allclose(
        repeated.decision_function(X), weighted, atol=1e-7 if kind == "two" else 1e-3
    )


@pytest.mark.parametrize(
    ("n_positive", "expected"), [(0, 2 / 17), (1, 2 * 4.75 / 17), (8, 2), (4, 26 / 17)]
)
def test_few_of_a_class_count_as_fewer_labels(relu, rows, n_positive, expected):
    X, y = rows[0][:16], np.arange(16) < n_positive
    y = y.astype(int)
    weights = np.where(y == 1, 1, 2)
    probe = LinearProbe(relu)
    assert pytest.approx(expected) == probe.fit(X, y, classes=[0, 1]).C_
    weighted = probe.fit(X, y, weights, classes=[0, 1]).C_
    repeated = probe.fit(np.repeat(X, weights, 0), np.repeat(y, weights), None, [0, 1])
    assert pytest.approx(weighted) == repeated.C_
    wide = probe.fit(X, np.column_stack([y, y > 2]), classes=[0, 1])
    assert wide.C_[0] == pytest.approx(expected)
    assert probe.set_params(C=3.0).fit(X, y, classes=[0, 1]).C_ == 3
    assert probe.set_params(C="auto", prior=None).fit(X, y, classes=[0, 1]).C_ == 2


@pytest.mark.parametrize("class_weight", ["balanced", {0: 3.0}, {0: 1, 1: 0.2}])
def test_class_weights_are_those_of_logistic_regression(rows, class_weight):
    X, Y = rows
    X, y = X[:40], Y[:40, 0] * Y[:40, 1]
    probe = LinearProbe(class_weight=class_weight).fit(X, y)
    norm = np.sqrt(((X - X.mean(axis=0)) ** 2).sum(axis=1).mean())
    expected = LogisticRegression(C=2, class_weight=class_weight, tol=1e-10)
    expected.fit(X / norm, y)
    np.testing.assert_allclose(
        probe.decision_function(X), expected.decision_function(X / norm), atol=1e-4
    )


def test_a_class_alone_is_balanced_as_it_is(relu, rows):
    X, y = rows[0][:6], np.ones(6)
    plain, balanced = (
        LinearProbe(relu, prior=PRIOR, class_weight=weight).fit(X, y)
        for weight in (None, "balanced")
    )
    np.testing.assert_array_equal(balanced.intercept_, plain.intercept_)


@pytest.mark.parametrize("weights", [{2: 1.0}, {0: -1.0}, {0: 0}, {1: np.nan}])
def test_bad_class_weights_are_refused(rows, weights):
    with pytest.raises(ValueError, match="class_weight"):
        LinearProbe(class_weight=weights).fit(rows[0], rows[1][:, 0])


@pytest.mark.parametrize("prior", ["auto", None])
def test_each_column_is_a_probe_of_its_own(relu, rows, prior, tmp_path):
    X, Y = rows
    labels = np.full((len(X), 7), np.nan)
    sizes = (0, 1, 5, 20, 21, 100, 40)
    for task, size in enumerate(sizes):
        labels[task : task + size, task] = Y[task : task + size, min(task, 5)]
    labels[:, 6] = np.where(np.isnan(labels[:, 6]), np.nan, 0)
    settings = ProbeSettings((16, 64), ((0.5, 0.5, 0), (0, 0.5, 0.5)), (0.1, 10))
    probe = LinearProbe(relu, settings=settings, prior=prior, class_weight="balanced")
    found = probe.fit(X, labels).predict_proba(X)
    predicted, decided = probe.predict(X), probe.decision_function(X)
    assert found.shape == predicted.shape == decided.shape == (len(X), 7)
    scores = [roc_auc_score(Y[:, task], found[:, task]) for task in (3, 4, 5)]
    truth = np.where(np.arange(7) < 6, np.c_[Y, Y[:, 5]], np.nan).astype(float)
    truth[:, :3] = np.nan
    assert probe.score(X, truth) == pytest.approx(np.mean(scores))
    halves = np.repeat([1, 0], [len(X) // 2, len(X) - len(X) // 2])
    of_half = probe.score(X[halves == 1], truth[halves == 1])
    assert probe.score(X, truth, sample_weight=halves) == pytest.approx(of_half)
    save(probe, tmp_path / "probe.safetensors")
    again = load(tmp_path / "probe.safetensors")
    np.testing.assert_array_equal(again.predict(X), predicted)
    for task in range(7):
        seen = ~np.isnan(labels[:, task])
        probe.fit(X[seen], labels[seen, task], classes=[0, 1])
        np.testing.assert_allclose(
            found[:, task], probe.predict_proba(X)[:, 1], atol=1e-8
        )
        np.testing.assert_array_equal(predicted[:, task], probe.predict(X))


def test_columns_of_several_classes_and_of_names(relu, rows):
    X, Y = rows
    frame = pd.DataFrame({"one": Y[:, 0], "two": Y[:, 1] + Y[:, 2]})
    probe = LinearProbe(relu).fit(X, frame)
    assert probe.output_names_.tolist() == ["one", "two"]
    assert probe.predict_proba(X).shape == (len(X), 4)
    assert set(np.unique(probe.predict(X)[:, 1])) <= {0, 1, 2}
    probe.fit(X, Y[:, 0])
    assert not hasattr(probe, "output_names_")
    with pytest.raises(ValueError, match=r"fine_tune=True.*2 columns"):
        LinearProbe(relu, fine_tune=True).fit(X, frame)


def test_a_prior_helps_where_few_labels_are_positive(relu, rows):
    """As they come, a third of such draws shows one class."""
    rng = np.random.default_rng(0)
    X, _ = rows
    s = shared(relu, X)
    y = (s + rng.standard_normal(len(s)) > np.quantile(s, 0.9)).astype(int)
    few = np.flatnonzero(y == 0)[:16]
    found = LinearProbe(relu, prior=PRIOR).fit(X[few], y[few]).predict_proba(X)[:, 1]
    assert roc_auc_score(y, found) > 0.8
    plain = LinearProbe(relu, prior=None).fit(X[few], y[few]).predict_proba(X)[:, 1]
    assert np.ptp(plain) == 0


def test_fine_tuning_keeps_to_the_prior_where_there_is_nothing_to_train_on(relu, rows):
    X, Y = rows
    probe = LinearProbe(relu, fine_tune=True)
    plain = LinearProbe(relu)
    for few in (X[:0], []), (X[:5], np.zeros(5, int)):
        found = probe.fit(*few, classes=[0, 1]).predict_proba(X)
        np.testing.assert_array_equal(
            found, plain.fit(*few, classes=[0, 1]).predict_proba(X)
        )
        assert probe.first_layer_ == {}
    probe.fit(X[:60], Y[:60, 0])
    assert probe.first_layer_
    assert roc_auc_score(Y[60:, 0], probe.predict_proba(X[60:])[:, 1]) > 0.9


@pytest.mark.parametrize(
    ("field", "value"),
    [("scale", 0.0), ("intercept", np.nan), ("slope_spread", -1.0), ("slope", "a")],
)
def test_priors_that_make_no_sense_are_refused(field, value):
    with pytest.raises(ValueError, match=f"{field}=.*should be a"):
        ProbePrior(**(vars(PRIOR) | {field: value}))
