"""Callbacks of skorch find labels, keys and losses as they expect them."""

import numpy as np
import pytest
from relu_cases import quick
from skorch.callbacks import Checkpoint, EarlyStopping, EpochScoring

from mtrl_sklearn import ConvMultiTaskClassifier, MultiTaskReLURepresentation
from mtrl_sklearn.metrics import multitask_roc_auc_scorer

RNG = np.random.default_rng(0)
X = RNG.standard_normal((90, 5))
COMPLETE = (X[:, :3] > 0).astype(float)
MISSING = np.where(RNG.random(COMPLETE.shape) < 0.3, np.nan, COMPLETE)


def fit(y, *callbacks, **parameters):
    return (
        MultiTaskReLURepresentation(
            8, max_iter=3, random_state=0, n_components=None, callbacks=[*callbacks]
        )
        .set_params(dropout=0, **parameters)
        .fit(X, y)
    )


@quick
@pytest.mark.parametrize("y", [COMPLETE, MISSING], ids=["complete", "missing"])
def test_scorers_get_labels_where_some_are_missing(y):
    found = []

    def score(net, inputs, labels):
        found.append(np.asarray(labels))
        return multitask_roc_auc_scorer(net, inputs, labels)

    fit(y, EpochScoring(score, name="auc", on_train=True), batch_size=len(X))
    assert len(found) == 3
    trained_on = y[~np.isnan(y).all(axis=1)]
    for labels in found:
        np.testing.assert_array_equal(labels, trained_on)


@quick
@pytest.mark.parametrize(
    "make",
    [
        EarlyStopping,
        lambda: Checkpoint(
            f_params=None, f_optimizer=None, f_criterion=None, f_history=None
        ),
    ],
)
def test_default_monitors_are_recorded_or_refused(make):
    assert fit(COMPLETE, make(), early_stopping=True).n_iter_ >= 1
    with pytest.raises(ValueError, match=r"valid_loss.*early_stopping=True"):
        fit(COMPLETE, make())


def test_early_stopping_of_skorch_follows_the_validation_score():
    model = fit(
        COMPLETE,
        EarlyStopping(patience=2),
        early_stopping=True,
        max_iter=30,
        learning_rate=1e-12,
    )
    assert model.n_iter_ <= 4


@quick
def test_a_task_without_weight_has_no_part_in_the_penalty():
    rows = RNG.standard_normal((60, 4, 6))
    y, tasks = np.arange(60) % 2, np.repeat([0, 1, 2], 20)
    weights = np.where(tasks == 2, 0.0, 1.0)
    model = ConvMultiTaskClassifier(
        6, solver="gd", weight_decay=0.5, max_iter=20, random_state=0
    )
    absent = model.fit(rows[:40], y[:40], tasks[:40]).filters_
    found = model.fit(rows, y, tasks, sample_weight=weights).filters_
    np.testing.assert_allclose(found, absent, rtol=1e-9)
