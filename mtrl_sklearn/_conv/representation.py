"""What tools for new tasks and for files get from the convolutional network."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtrl_sklearn._arrays.validation import flatten_rows
from mtrl_sklearn._conv.fitted_form import check_conv
from mtrl_sklearn._conv.gradients import pool_responses
from mtrl_sklearn._conv.inputs import flatten_inputs
from mtrl_sklearn._conv.onnx import embed_conv, write_conv
from mtrl_sklearn._conv.patches import PatchGrid
from mtrl_sklearn._training.onnx_graph import Graph, NetworkValues
from mtrl_sklearn._training.representation import TrainableLayer, with_attributes
from mtrl_sklearn._training.saving import SaveableMixin


class ConvRepresentationMixin(SaveableMixin):
    """The methods of `Representation` and of the protocols beside it.

    A subclass provides the fitted network, ``_read_rows``, ``_patch_grid``, and
    ``_head_scores`` of `ClassPredictionsMixin`.
    """

    transform: Callable[[Any], np.ndarray]
    _head_scores: Callable[..., np.ndarray]
    _patch_grid: Callable[[], PatchGrid]
    _read_rows: Callable[..., np.ndarray]

    input_shape: Any
    filters_: np.ndarray
    biases_: np.ndarray
    head_intercept_: np.ndarray
    power_: float
    scale_: float
    _head_: str

    validation_name = "held-out log-probability"
    epoch_name = "epoch"
    first_layer_attributes = ("filters_", "biases_")

    @property
    def n_source_probabilities(self) -> int:
        """Number of columns of `source_probabilities`."""
        return math.prod(self.head_intercept_.shape)

    def check_inputs(self, X: Any) -> None:
        """Refuse inputs of too many axes, before a network is trained on them.

        Parameters
        ----------
        X : array-like
        """
        flatten_inputs(X, self.input_shape, None)

    def untrained_features(self, X: Any, seed: int) -> np.ndarray:
        """Features of the same network with Gaussian filters.

        Filters of power 1 see inputs that are centred, all by one number.

        Parameters
        ----------
        X : array-like
            Inputs, as in `fit`.
        seed : int

        Returns
        -------
        ndarray of shape (n_samples, n_cells * n_filters)
        """
        rng = np.random.default_rng(seed)
        filters = rng.standard_normal(self.filters_.shape)
        rows = flatten_rows(X)
        mean = rows.mean(dtype=float) / self.scale_ if self.power_ == 1 else 0
        biases = -mean * filters.reshape(len(filters), -1).sum(axis=1)
        twin = with_attributes(self, {"filters_": filters, "biases_": biases})
        return flatten_rows(twin.transform(X))

    def task_covariance(self, X: Any = None) -> np.ndarray:
        """Covariance of what the heads of the tasks compute, summed over classes.

        Parameters
        ----------
        X : array-like
            Inputs, as in `fit`, over which it is taken.

        Returns
        -------
        ndarray of shape (n_tasks, n_tasks), float64

        Raises
        ------
        ValueError
            If tasks have no heads of their own, or X is None.
        """
        if self._head_ != "per_task":
            raise ValueError(
                f"task_affinity compares heads, but head={self._head_!r} is one for "
                "all tasks. Fit with head='per_task'."
            )
        if X is None:
            raise ValueError(
                "task_affinity needs X for a convolutional network: pass rows, with or "
                "without labels."
            )
        scores = self._head_scores(X).astype(np.float64)
        centred = scores - scores.mean(axis=0)
        return np.einsum("isc,itc->st", centred, centred) / len(scores)

    def first_layer(self, X: Any) -> TrainableLayer:
        """The filters, for a probe that trains them further.

        Filters see inputs divided by ``scale_``; one number centres them if there are
        biases. Above power 1 the network is homogeneous: no biases, no centre.

        Parameters
        ----------
        X : array-like
            Inputs, as in `fit`, that they are trained on.

        Returns
        -------
        TrainableLayer
        """
        rows = self._read_rows(X).astype(np.float64)
        shape, power = self.filters_.shape, self.power_
        grid, scale = self._patch_grid(), self.scale_
        centre = rows.mean() / scale if power == 1 else 0.0
        W = self.filters_.astype(float).reshape(len(self.filters_), -1)
        places = torch.from_numpy(grid.places())
        pool = torch.from_numpy(grid.pooling_matrix().astype(float))
        patches = grid.extract(torch.from_numpy(rows / scale - centre), places)

        def features(weights: Tensor, biases: Tensor) -> Tensor:
            return pool_responses(patches, weights, biases, pool, power).pooled

        def restore(weights: Tensor, biases: Tensor) -> dict[str, np.ndarray]:
            raw = weights.numpy()
            found = {"filters_": raw.reshape(shape)}
            if power == 1:
                found["biases_"] = biases.numpy() - centre * raw.sum(axis=1)
            return found

        biases = None
        if power == 1:
            biases = torch.from_numpy(self.biases_ + centre * W.sum(axis=1))
        return TrainableLayer(torch.from_numpy(W), biases, features, restore)

    def check_fitted_form(self, values: dict[str, Any]) -> None:
        """Check that fitted values are whole; see `check_conv`.

        Parameters
        ----------
        values : dict
            Those of `fitted_form`.
        """
        check_conv(values)

    def write_onnx(self, graph: Graph) -> None:
        """Add the estimator to an ONNX graph; see `mtrl_sklearn.to_onnx`.

        Parameters
        ----------
        graph : Graph
        """
        write_conv(graph, self)

    def embed_onnx(self, graph: Graph, X: str | None = None) -> NetworkValues:
        """Add the network, without outputs, to an ONNX graph.

        Parameters
        ----------
        graph : Graph
        X : str, default=None
            The input of the graph that it sees. None adds one.

        Returns
        -------
        NetworkValues
        """
        return embed_conv(graph, self, X)
