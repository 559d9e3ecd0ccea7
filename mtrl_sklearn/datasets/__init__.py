"""Data sets of many related tasks.

:func:`make_subspace_tasks` generates binary tasks that all depend on the same few
hidden directions, so that what a representation should find is known.
:func:`make_digit_tasks` turns scikit-learn's digits into up to 126 binary tasks.

The other two have one label space for all tasks, which are sources of rows:
:func:`make_patch_tasks` generates rows of patches, of which one carries a feature that
tasks share or one of its task, and :func:`make_corrupted_digits` shows digits under
five corruptions.

:func:`from_table` reads a table of inputs, tasks and labels, of any kind.
"""

from mtrl_sklearn.datasets._digits import (
    CorruptedDigits,
    DigitTasks,
    make_corrupted_digits,
    make_digit_tasks,
)
from mtrl_sklearn.datasets._patches import (
    PatchProblem,
    PatchSample,
    PatchTasks,
    make_patch_tasks,
)
from mtrl_sklearn.datasets._subspace import (
    SubspaceProblem,
    SubspaceTasks,
    make_subspace_tasks,
)
from mtrl_sklearn.datasets._table import TableLabels, from_table

__all__ = [
    "CorruptedDigits",
    "DigitTasks",
    "PatchProblem",
    "PatchSample",
    "PatchTasks",
    "SubspaceProblem",
    "SubspaceTasks",
    "TableLabels",
    "from_table",
    "make_corrupted_digits",
    "make_digit_tasks",
    "make_patch_tasks",
    "make_subspace_tasks",
]
