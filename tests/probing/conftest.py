"""A representation of eight source tasks, for tests of probes."""

import pytest

from mtrl_sklearn import MultiTaskReLURepresentation
from mtrl_sklearn.datasets import make_subspace_tasks


@pytest.fixture(scope="package")
def sources():
    return make_subspace_tasks(300, 12, n_components=2, n_tasks=8, random_state=0)


@pytest.fixture(scope="package")
def relu(sources):
    return MultiTaskReLURepresentation(16, random_state=0).fit(sources.X, sources.Y)
