"""scikit-learn's own checks, without expected failures."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from mtrl_sklearn import ConvMultiTaskClassifier, MultiTaskReLURepresentation

# One of each solver, and between them each value of what changes the way that data or
# predictions take: outputs, losses, weights of labels, a rank cut or not, heads.
ESTIMATORS = [
    # alternating, hidden features, a rank that is found
    MultiTaskReLURepresentation(n_hidden=8, max_iter=5),
    # joint, a rank that is forced, features with the number of directions
    MultiTaskReLURepresentation(
        n_hidden=8, max_iter=5, algorithm="joint", n_components=1, output="projection"
    ),
    # closed form over several steps, features with the number of tasks
    MultiTaskReLURepresentation(
        n_hidden=8, max_iter=3, algorithm="one_step", output="scores"
    ),
    # no probabilities, trained heads since nothing is truncated, batches of some rows
    MultiTaskReLURepresentation(
        n_hidden=8,
        max_iter=5,
        loss="hinge",
        n_components=None,
        task_weight="equal",
        batch_size=16,
    ),
    # mini-batches, trained heads that all tasks share, power 1
    ConvMultiTaskClassifier(n_filters=8, max_iter=20, solver="adam"),
    # all rows at once, heads that are given and split the filters among classes
    ConvMultiTaskClassifier(n_filters=8, max_iter=40, solver="gd", head="fixed"),
    # heads per task, homogeneous, other pooling, equal weights
    ConvMultiTaskClassifier(
        n_filters=8,
        max_iter=20,
        head="per_task",
        power=2,
        pooling="mean",
        task_weight="equal",
    ),
]


@parametrize_with_checks(ESTIMATORS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimator_passes_scikit_learns_checks(estimator, check):
    check(estimator)
