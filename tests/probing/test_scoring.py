"""Scorers of probes: the fast ROC-AUC against scikit-learn's."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.naive_bayes import BernoulliNB
from sklearn.svm import LinearSVC

from mtrl_sklearn.probing import LinearProbe, _scoring
from mtrl_sklearn.probing._plain_probes import MeanProbability, SameForAll
from mtrl_sklearn.probing._scoring import read_scorers


class Answers(ClassifierMixin, BaseEstimator):
    """Says what it was told to."""

    classes_ = np.array([0, 1])

    def __init__(self, scores):
        self.scores = scores

    def decision_function(self, X):
        return np.array(self.scores)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 3, (80, 3)).astype(np.float32)  # so that scores are tied
    return X, (X[:, 0] + rng.standard_normal(80) > 1).astype(int)


MODELS = LogisticRegression(), BernoulliNB(), LinearSVC(), LinearProbe(), SameForAll()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_roc_auc_is_that_of_scikit_learn(rows, model, monkeypatch):
    X, y = rows
    model.fit(X[:40], y[:40])
    expected = get_scorer("roc_auc")(model, X, y)
    monkeypatch.setattr(_scoring, "check_scoring", lambda *arguments: None)  # not asked
    score = read_scorers("roc_auc", model)["roc_auc"]
    assert score(model, X, y) == pytest.approx(expected, abs=1e-12)
    assert (expected == 0.5) == isinstance(model, SameForAll)


def test_probabilities_alone_will_do():
    X = np.array([[0.1], [0.7], [0.7], [0.9]])
    score = read_scorers("roc_auc", MeanProbability())["roc_auc"]
    model = MeanProbability().fit(X, [0, 1])
    assert score(model, X, np.array([0, 0, 1, 1])) == 0.875


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([0.1, np.nan, 0.3, 0.4], "NaN"),
        ([0.1, np.inf, 0.3, 0.4], "infinity"),
        ([[0.1, 0.2]] * 4, "1d array"),
        ([0.1, 0.2], "inconsistent"),
    ],
)
def test_what_scikit_learn_refuses_is_refused(scores, message):
    model = Answers(scores)
    score = read_scorers("roc_auc", LogisticRegression())["roc_auc"]
    with pytest.raises(ValueError, match=message):
        score(model, np.zeros((4, 1)), np.array([0, 1, 0, 1]))


def test_other_scorers_are_those_of_scikit_learn(rows):
    X, y = rows
    model = LogisticRegression().fit(X, y)
    scorers = read_scorers(
        {"a": "roc_auc", "b": "neg_log_loss", "c": get_scorer("roc_auc")}, model
    )
    assert scorers["b"](model, X, y) == get_scorer("neg_log_loss")(model, X, y)
    assert scorers["a"](model, X, y) == pytest.approx(scorers["c"](model, X, y))
