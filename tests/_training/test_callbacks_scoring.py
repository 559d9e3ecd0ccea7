"""Scorers and monitors among skorch callbacks: what they see, what there is."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
)

from mtrl_sklearn import ConvMultiTaskClassifier, MultiTaskReLURepresentation
from mtrl_sklearn._labels import signs as _signs
from mtrl_sklearn.metrics import (
    multitask_accuracy_score,
    multitask_accuracy_scorer,
    multitask_roc_auc_score,
    multitask_roc_auc_scorer,
)

rng = np.random.default_rng(0)
X = rng.standard_normal((90, 5))
Y = np.where(rng.random((90, 3)) < 0.3, np.nan, X[:, :3] > 0)
IMAGES = rng.standard_normal((60, 1, 8, 8))
TASKS = np.arange(60) % 4


class Recorded(Callback):
    """What the history has after each epoch."""

    def initialize(self):
        self.epochs = []
        return self

    def on_epoch_end(self, net, **kwargs):
        self.epochs.append(dict(net.history[-1]))


def relu(callbacks, **parameters):
    parameters = {"dropout": 0.0, "batch_size": 90, "max_iter": 3} | parameters
    return MultiTaskReLURepresentation(
        8,
        n_components=None,
        algorithm="joint",
        tol=0,
        random_state=0,
        callbacks=callbacks,
        **parameters,
    )


def conv(callbacks, solver="adam", **parameters):
    parameters = {"max_iter": 3, "batch_size": 60} | parameters
    return ConvMultiTaskClassifier(
        4, solver=solver, tol=0, random_state=0, callbacks=callbacks, **parameters
    )


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.filterwarnings("ignore:Training ended at max_iter")
def test_scorers_of_the_package_see_labels_with_nan(is_sparse, monkeypatch):
    """With one batch, the scores of an epoch are those of the epoch before it."""
    if is_sparse:
        monkeypatch.setattr(_signs, "MIN_TASKS", 0)
        monkeypatch.setattr(_signs, "MAX_DENSITY", 1.0)
    record = Recorded()
    scorings = [
        EpochScoring(multitask_roc_auc_scorer, name="auc", on_train=True),
        EpochScoring(multitask_accuracy_scorer, name="accuracy", on_train=True),
        BatchScoring(multitask_roc_auc_scorer, name="of_batch", on_train=True),
    ]
    labels = np.where(Y == 1, "yes", np.where(Y == 0, "no", None))
    relu([*scorings, record], max_iter=4).fit(X, labels)
    model = relu(None).fit(X, labels)
    auc = multitask_roc_auc_score(Y, model.decision_function(X))
    assert record.epochs[3]["auc"] == pytest.approx(auc, abs=1e-12)
    assert record.epochs[3]["of_batch"] == pytest.approx(auc, abs=1e-12)
    as_trained = np.where(model.source_probabilities(X) > 0.5, "yes", "no")
    accuracy = multitask_accuracy_score(labels, as_trained)
    assert record.epochs[3]["accuracy"] == pytest.approx(accuracy, abs=1e-12)


@pytest.mark.parametrize("head", ["shared", "per_task"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.filterwarnings("ignore:Training ended at max_iter")
def test_scorers_of_scikit_learn_see_classes(head, n_classes):
    y = np.arange(60) // 4 % n_classes
    record = Recorded()
    scorings = [
        EpochScoring("accuracy", on_train=True),
        EpochScoring("neg_log_loss", on_train=True),
    ]
    if n_classes == 2:
        scorings.append(EpochScoring("roc_auc", on_train=True))
    names = np.array(["a", "b", "c"])[y]
    parameters = {"solver": "gd", "head": head, "learning_rate": 0.01}
    conv([*scorings, record], max_iter=4, **parameters).fit(IMAGES, names, TASKS)
    model = conv(None, max_iter=4, **parameters).fit(IMAGES, names, TASKS)
    ids = {"tasks": TASKS} if head == "per_task" else {}
    probabilities = model.predict_proba(IMAGES, **ids)
    last = record.epochs[3]
    assert last["accuracy"] == accuracy_score(names, model.predict(IMAGES, **ids))
    assert last["neg_log_loss"] == pytest.approx(-log_loss(y, probabilities), rel=1e-6)
    if n_classes == 2:
        assert last["roc_auc"] == pytest.approx(roc_auc_score(y, probabilities[:, 1]))


@pytest.mark.parametrize("make", [relu, conv])
@pytest.mark.parametrize("given", [EarlyStopping(), EarlyStopping, Checkpoint()])
def test_partial_fit_has_no_validation_to_monitor(make, given):
    rows = (X, Y) if make is relu else (IMAGES, np.arange(60) % 2)
    model = make([given], early_stopping=True)
    with pytest.raises(ValueError, match=r"monitors 'valid_loss.*monitor='train_loss"):
        model.partial_fit(*rows)
    assert not hasattr(model, "n_iter_")


@pytest.mark.filterwarnings("ignore:Training ended at max_iter")
def test_a_score_of_that_name_can_be_monitored():
    scoring = EpochScoring(lambda *args: 0.0, name="valid_loss", on_train=True)
    assert relu([scoring, EarlyStopping(patience=1)]).fit(X, Y).n_iter_ == 2


@pytest.mark.parametrize("make", [relu, conv])
@pytest.mark.filterwarnings("ignore:Training ended at max_iter")
def test_a_scoring_of_validation_batches_is_told_to_record_nothing(make):
    rows = (X, Y) if make is relu else (IMAGES, np.arange(60) % 2)
    with pytest.warns(UserWarning, match="EpochScoring with on_train=False.*nothing"):
        make([EpochScoring("roc_auc")]).fit(*rows)
