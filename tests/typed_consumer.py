"""A program that uses the package, for mypy: types of the package reach its users.

mypy reads it with `make lint`, and beside an installed wheel with `make dist`. It must
find the errors that are expected here: an ignore that is not needed is an error, too.
"""

from typing import assert_type

import numpy as np

import mtrl_sklearn
from mtrl_sklearn.metrics import subspace_distance
from mtrl_sklearn.probing import ProbeSettings


def use() -> None:
    X = np.zeros((4, 2))
    representation = mtrl_sklearn.MultiTaskReLURepresentation(8, random_state=0)
    representation.fit(X, X > 0)
    assert_type(subspace_distance(X, X), float)
    assert_type(mtrl_sklearn.__version__, str)
    ProbeSettings((16,), ((1.0, 0.0, 0.0),), (1.0,))
    subspace_distance(X)  # type: ignore[call-arg]
    mtrl_sklearn.nothing  # type: ignore[attr-defined]  # noqa: B018
