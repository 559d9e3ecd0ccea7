"""scikit-learn's own checks, without expected failures."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from mtrl_sklearn import ConvMultiTaskClassifier, MultiTaskReLURepresentation

ESTIMATORS = [
    MultiTaskReLURepresentation(n_hidden=8, max_iter=5),
    MultiTaskReLURepresentation(n_hidden=8, max_iter=5, algorithm="joint"),
    MultiTaskReLURepresentation(n_hidden=8, algorithm="one_step"),
    MultiTaskReLURepresentation(n_hidden=8, algorithm="one_step", max_iter=3),
    MultiTaskReLURepresentation(n_hidden=8, max_iter=5, loss="hinge", head_steps=3),
    MultiTaskReLURepresentation(n_hidden=8, max_iter=5, n_components=1),
    MultiTaskReLURepresentation(n_hidden=8, max_iter=5, output="projection"),
    MultiTaskReLURepresentation(n_hidden=8, max_iter=5, output="scores"),
    MultiTaskReLURepresentation(n_hidden=8, max_iter=5, n_components=None),
    MultiTaskReLURepresentation(n_hidden=8, task_weight="equal", batch_size=16),
    ConvMultiTaskClassifier(n_filters=8),
    *(
        ConvMultiTaskClassifier(n_filters=16, max_iter=40, head=head, solver=solver)
        for head in ("shared", "fixed", "per_task")
        for solver in ("gd", "adam")
    ),
    ConvMultiTaskClassifier(n_filters=16, max_iter=40, power=2, pooling="mean"),
    ConvMultiTaskClassifier(n_filters=8, task_weight="equal", max_iter=20),
]


@parametrize_with_checks(ESTIMATORS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimator_passes_scikit_learns_checks(estimator, check):
    check(estimator)
