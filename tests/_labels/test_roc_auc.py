"""ROC-AUC of many scores of the same labels."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mtrl_sklearn._labels.roc_auc import compare_roc_auc


@pytest.mark.parametrize("decimals", [6, 1, 0])
def test_many_scores_of_the_same_labels(decimals):
    """Ties among positives, among negatives and between them, and either zero."""
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((20, 80)).astype(np.float32).round(decimals)
    scores[0], scores[1, ::2], scores[2] = 0, -0.0, -np.abs(scores[2])
    scores[3, :2] = np.inf, -np.inf
    positive = rng.random(80) < 0.3
    positive[:2] = True, False
    expected = [roc_auc_score(positive, np.clip(row, -9, 9)) for row in scores]
    np.testing.assert_allclose(compare_roc_auc(positive, scores), expected, rtol=1e-12)


def test_scores_of_labels_of_one_class_have_none():
    scores = np.arange(6.0).reshape(2, 3)
    for positive in (np.zeros(3, dtype=bool), np.ones(3, dtype=bool)):
        assert np.isnan(compare_roc_auc(positive, scores)).tolist() == [True, True]


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="1 scores of observed labels are NaN"):
        compare_roc_auc(np.array([True, False]), np.array([[0.0, np.nan]]))
