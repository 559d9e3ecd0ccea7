"""What the convolutional network is trained on: rows with a class and a task."""

from typing import NamedTuple

import numpy as np
import torch

from mtrl_sklearn._arrays.rows import RowDataset, Rows
from mtrl_sklearn._group import Group, Shard


class ClassData(NamedTuple):
    """Rows of inputs with their class and their task."""

    X: np.ndarray  # (n_inputs, prod(input_shape)), of any numeric dtype
    codes: np.ndarray  # (n_samples,), int64, from 0 to n_classes - 1
    tasks: np.ndarray  # (n_samples,), int64, from 0 to n_tasks - 1
    weights: np.ndarray  # (n_samples,), summing to 1 over all ranks
    n_classes: int
    n_tasks: int
    shard: Shard  # where these rows are among those of all ranks
    group: Group  # of the processes that have the rows
    rows: np.ndarray | None = None  # (n_samples,), positions in X; None is all of it

    @property
    def n_rows(self) -> int:
        """Number of rows, of all ranks."""
        return self.shard.n_rows

    def on_device(self, device: str, dtype: torch.dtype) -> RowDataset:
        """Inputs, codes, tasks and weights of mean 1, as batches of tensors."""
        return RowDataset(
            Rows(self.X, dtype, device, self.rows),
            Rows(self.codes, None, device),
            Rows(self.tasks, None, device),
            Rows(self.weights * self.n_rows, dtype, device),
            shard=self.shard,
        )

    def take(self, rows: np.ndarray) -> "ClassData":
        """Some of the rows, whose weights sum to 1 again."""
        weights = self.weights[rows]
        return self._replace(
            rows=rows if self.rows is None else self.rows[rows],
            codes=self.codes[rows],
            tasks=self.tasks[rows],
            weights=weights / (sum(self.group.gather(weights.sum())) or 1),
            shard=self.group.locate_rows(len(rows)),
        )


def weigh_rows(
    data: ClassData, class_weights: np.ndarray, task_weight: str
) -> ClassData:
    """Weights of rows, times those of classes and tasks, that sum to 1 over all ranks.

    Parameters
    ----------
    data : ClassData
        Its weights need not sum to 1.
    class_weights : ndarray of shape (n_classes,)
    task_weight : {"observed", "equal"}
        "equal" makes the weights of all tasks that have rows sum to the same.
    """
    largest = max(data.group.gather(data.weights.max(initial=0)))
    weights = data.weights / (largest or 1) * class_weights[data.codes]
    if task_weight == "equal":
        totals = sum(
            data.group.gather(np.bincount(data.tasks, weights, minlength=data.n_tasks))
        )
        weights = weights / np.where(totals > 0, totals, 1)[data.tasks]
    total = sum(data.group.gather(weights.sum()))
    if not total > 0:
        raise ValueError(
            "All rows have a weight of 0 (sample_weight times class_weight). Give "
            "some a positive weight."
        )
    return data._replace(weights=weights / total)
