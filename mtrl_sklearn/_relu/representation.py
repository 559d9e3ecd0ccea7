"""What tools for new tasks and for files get from the ReLU network."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.base import clone
from torch import Tensor

from mtrl_sklearn._arrays.block_scale import block_scale
from mtrl_sklearn._arrays.centred import centre
from mtrl_sklearn._arrays.products import Factor, ShiftedRows, multiply
from mtrl_sklearn._arrays.rows import to_tensor
from mtrl_sklearn._arrays.validation import flatten_rows, naming_numbers
from mtrl_sklearn._labels.encoding import LabelEncoding
from mtrl_sklearn._labels.signs import Signs, unpack_signs
from mtrl_sklearn._relu.fitted_form import check_relu
from mtrl_sklearn._relu.onnx import embed_relu, write_relu
from mtrl_sklearn._relu.options import LARGEST_STEP, resolve_epochs
from mtrl_sklearn._relu.solvers import SOLVERS
from mtrl_sklearn._training.onnx_graph import Graph, NetworkValues
from mtrl_sklearn._training.random_features import random_features
from mtrl_sklearn._training.representation import TrainableLayer
from mtrl_sklearn._training.saving import SaveableMixin
from mtrl_sklearn._warnings import warn_user

# A lighter network learns so many times as fast, in as many times fewer epochs, but not
# faster than this rate: at .03 subspaces were found less well, at .02 as well. Where
# that leaves it slow, it takes a third of the epochs.
PACE = 5
HIGHEST_RATE = 0.02
LEAST_LIGHTER = 3


class ReLURepresentationMixin(SaveableMixin):
    """The methods of `Representation` and of the protocols beside it.

    A subclass provides the fitted network, and ``_task_scores`` and ``_label_encoding``
    of `TaskPredictionsMixin`.
    """

    _task_scores: Callable[..., np.ndarray]
    _label_encoding: Callable[[], LabelEncoding]

    check_parameters: Callable[[], None]
    get_params: Callable[..., dict[str, Any]]

    n_hidden: int
    learning_rate: float
    weight_decay: float
    output: str
    algorithm: str
    pos_label: Any

    hidden_weights_: np.ndarray
    hidden_biases_: np.ndarray
    task_coef_: np.ndarray
    task_intercept_: np.ndarray

    # Of a lighter network, which learns nothing from rows held out.
    _known_head_decay: float | None = None

    validation_name = "ROC-AUC on held-out rows"
    first_layer_attributes = ("hidden_weights_", "hidden_biases_")

    @staticmethod
    def read_older(
        parameters: dict[str, Any], values: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Parameters and fitted values of a file, under the names of today.

        Parameters
        ----------
        parameters, values : dict
            As the file has them.

        Warns
        -----
        UserWarning
            If one of them was set: training that goes on does without.
        """
        head_steps = parameters.get("head_steps", 1)
        if head_steps != 1:
            warn_user(
                f"The file holds an estimator with head_steps={head_steps}, which "
                "was a parameter. It predicts as it did; if training goes on, heads "
                "are updated once for each update of the first layer."
            )
        known = {k: v for k, v in parameters.items() if k != "head_steps"}
        if "head_steps" in parameters:  # a file of before
            known.setdefault("pos_label", None)
        return known, {"head_decay_": 1.0} | values if values else values

    @property
    def epoch_name(self) -> str:
        """What an entry of ``loss_curve_`` is, in words."""
        is_one_step = self.algorithm == "one_step"
        return "repetition of the one step" if is_one_step else "epoch"

    @property
    def n_source_probabilities(self) -> int:
        """Number of columns of `source_probabilities`."""
        return len(self.task_intercept_)

    def check_inputs(self, X: Any) -> None:
        """Refuse inputs that are no rows, before a network is trained on them.

        Parameters
        ----------
        X : array-like
        """
        with naming_numbers(X, "X") as rows:
            shape = np.shape(rows)
        if len(shape) > 2:
            raise ValueError(
                f"X has shape {shape}. Pass rows of shape (n_samples, n_features), as "
                "X.reshape(len(X), -1) makes them."
            )

    def untrained_features(self, X: Any, seed: int) -> np.ndarray:
        """Hidden features of a layer as wide with Gaussian weights, on centred inputs.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        seed : int

        Returns
        -------
        ndarray of shape (n_samples, n_hidden)
        """
        return random_features(flatten_rows(X, sparse=True), self.n_hidden, seed)

    def lighter(self, n_rows: int) -> Any:
        """An estimator that trains in a fifth of the time, to fit in its place.

        It takes a fifth of the epochs with five times the learning rate, and learns
        nothing from rows held out: neither a prior of probes nor the strength of heads.
        Their decay it has from this one, if it was fitted. A learning rate above .004
        becomes less than five times as high, and epochs a third at most.

        Parameters
        ----------
        n_rows : int
            Rows that it is to be fitted to.

        Returns
        -------
        MultiTaskReLURepresentation
            Not fitted.
        """
        self.check_parameters()
        auto_epochs = SOLVERS[self.algorithm].auto_epochs
        parameters = self.get_params(deep=False)
        _, max_epochs = resolve_epochs(parameters, n_rows, auto_epochs)
        fastest = HIGHEST_RATE
        if self.weight_decay:
            fastest = min(fastest, LARGEST_STEP / self.weight_decay)
        pace = min(max(fastest / self.learning_rate, 1.0), PACE)
        faster = clone(self).set_params(
            max_iter=math.ceil(max_epochs / max(pace, LEAST_LIGHTER)),
            learning_rate=pace * self.learning_rate,
        )
        faster._known_head_decay = getattr(self, "head_decay_", 1.0)
        return faster

    def task_covariance(self, X: Any = None) -> np.ndarray:
        """Covariance of what the heads of the source tasks compute, up to a factor.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), default=None
            Rows over which it is taken. None stands for isotropic Gaussian inputs,
            and heads without their intercepts.

        Returns
        -------
        ndarray of shape (n_tasks, n_tasks), float64
        """
        if X is None:
            heads = self.task_coef_.astype(np.float64)
            W = self.hidden_weights_.astype(np.float64)
            largest = np.abs(W).max() or 1  # so that squares stay in range
            return heads @ relu_covariance(W / largest) @ heads.T
        scores = self._task_scores(X).astype(np.float64)
        centred = scores - scores.mean(axis=0)
        return centred.T @ centred

    def label_signs(self, Y: Any) -> Signs:
        """Labels of the source tasks as signs.

        Parameters
        ----------
        Y : array-like of shape (n_samples, n_outputs)
            In the form and encoding of fit.

        Returns
        -------
        ndarray or Indicator of shape (n_samples, n_tasks)
            +1, -1, or 0 where nothing was observed.
        """
        return unpack_signs(self._label_encoding().encode(Y, sparse=True))

    def first_layer(self, X: Any) -> TrainableLayer:
        """The hidden layer, for a probe that trains it further.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows that it is trained on.

        Returns
        -------
        TrainableLayer

        Raises
        ------
        ValueError
            If `transform` does not return hidden features.
        """
        if self.output != "hidden":
            raise ValueError(
                f"fine_tune=True trains hidden features, but the representation has "
                f"output={self.output!r}. Set output='hidden'."
            )
        rows = flatten_rows(X, sparse=True).astype(np.float64)
        scale = block_scale(rows)
        scale = scale if np.isfinite(scale) else 1.0
        centred, origin, shift, _ = centre(rows, scale)
        mean = origin + scale * shift
        W, b = self.hidden_weights_.astype(float), self.hidden_biases_
        moved = to_tensor(centred, "cpu")
        inputs: Factor = moved
        if issparse(rows):
            inputs = ShiftedRows(moved, torch.from_numpy(shift))

        def features(weights: Tensor, biases: Tensor) -> Tensor:
            return (multiply(inputs, weights.T) + biases).relu()

        def restore(weights: Tensor, biases: Tensor) -> dict[str, np.ndarray]:
            raw = weights.numpy() / scale
            shifted = biases.numpy() - raw @ mean
            return {"hidden_weights_": raw, "hidden_biases_": shifted}

        weights, biases = torch.from_numpy(W * scale), torch.from_numpy(b + W @ mean)
        return TrainableLayer(weights, biases, features, restore)

    def check_fitted_form(self, values: dict[str, Any]) -> None:
        """Check that fitted values are whole; see `check_relu`.

        Parameters
        ----------
        values : dict
            Those of `fitted_form`.
        """
        check_relu(values, self.pos_label is not None)

    def write_onnx(self, graph: Graph) -> None:
        """Add the estimator to an ONNX graph; see `mtrl_sklearn.to_onnx`.

        Parameters
        ----------
        graph : Graph
        """
        write_relu(graph, self)

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
        return embed_relu(graph, self, X)


def relu_covariance(W: np.ndarray) -> np.ndarray:
    """Covariance of ``relu(W x)`` for x ~ N(0, I), of shape (n_hidden, n_hidden).

    Parameters
    ----------
    W : ndarray of shape (n_hidden, n_features)
    """
    norms = np.linalg.norm(W, axis=1)
    products = np.outer(norms, norms)
    cosine = np.divide(
        W @ W.T, products, out=np.zeros_like(products), where=products > 0
    )
    angle = np.arccos(np.clip(cosine, -1, 1))
    moment = np.sin(angle) + (np.pi - angle) * np.cos(angle)
    return products * (moment - 1) / (2 * np.pi)
