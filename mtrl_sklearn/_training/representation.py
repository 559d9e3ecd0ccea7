"""What the tools for new tasks, for plots and for files ask of a network.

A network is a transformer of scikit-learn with the methods of `Representation`. No base
class is needed. What a tool needs beyond these is a protocol of its own, and a network
without it works with all other tools.
"""

from collections.abc import Callable, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from mtrl_sklearn._training.onnx_graph import Graph, NetworkValues


class TrainableLayer(NamedTuple):
    """A first layer that can be trained further, and the features that follow from it.

    Inputs are centred and scaled, so that nothing depends on their units or origin.
    """

    weights: Tensor  # (n_hidden, n_inputs of a unit), float64
    biases: Tensor | None  # (n_hidden,), float64
    features: Callable[[Tensor, Tensor], Tensor]  # to (n_samples, n_features_out)
    restore: Callable[[Tensor, Tensor], dict[str, np.ndarray]]  # fitted attributes


class FittedForm(NamedTuple):
    """What an estimator has learned, as a file holds it."""

    values: dict[str, Any]  # by name of attribute; empty where it was not fitted
    container: str | None  # what `set_output` has set


class Representation(Protocol):
    """A network trained on source tasks, as tools for new tasks see it.

    It is a fitted transformer of scikit-learn, for `check_is_fitted` and `clone`. What
    it returns for a row does not depend on the rows that come with it. Its tag
    ``target_tags.multi_output`` says whether fit takes a column of labels for each
    task; without it a row has one label, of the task that ``tasks=`` names.

    `LinearProbe`, `calibrate`, `probe_new_tasks` and `source_task_transfer` take any
    transformer; of one with `source_probabilities` they use these too. `task_affinity`
    needs `task_covariance`. A Display reads fitted attributes, and names those that it
    misses.

    Some methods are optional, and a tool uses them where they are there:

    - ``untrained_features(X, seed)``: features of the same network with random weights,
      ndarray of shape (n_samples, n_features_out), as a baseline. Without it the
      baseline is a random ReLU layer.
    - ``label_signs(Y)``: labels of the source tasks as +1, -1, or 0 where nothing was
      observed, ndarray of shape (n_samples, n_tasks), for ``task_affinity(Y=...)``.
    - ``check_inputs(X)``: raises where X could not be fitted, before anything is.
    - ``first_layer(X)``: see `Tunable`.
    - ``lighter(n_rows)``: an estimator that was not fitted and takes a fraction of the
      time to fit to so many rows; `calibrate` trains it in place of this one. It may
      stop before it converges. Without it a clone is trained.
    - ``snapshot()``: a copy that stays as it is when the network is set or fitted anew;
      without it, a deep copy is made.

    So is one attribute: ``probe_prior_``, a dict of the fields of
    `mtrl_sklearn._training.prior.ProbePrior`, which says what source tasks have in
    common. Without it probes have no prior.
    """

    def transform(self, X: Any) -> np.ndarray:
        """Hidden features, or what else new tasks should see.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_features_out)
        """
        ...

    def source_probabilities(self, X: Any) -> np.ndarray:
        """Probabilities of the source tasks, as features of a probe.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_source)
        """
        ...

    def task_covariance(self, X: Any = None) -> np.ndarray:
        """Covariance of what the heads of the source tasks compute, up to a factor.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), default=None
            Rows over which it is taken. None stands for inputs of a known distribution,
            and may be refused.

        Returns
        -------
        ndarray of shape (n_tasks, n_tasks), float64
        """
        ...


class Tunable(Protocol):
    """A network whose first layer a probe with ``fine_tune=True`` trains further."""

    def first_layer(self, X: Any) -> TrainableLayer:
        """The first layer, at given rows.

        A copy of the network with the attributes that ``restore`` returns has the layer
        that was trained.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        """
        ...


class Saveable(Protocol):
    """An estimator that `save` writes to a file and `load` reads.

    Its class is registered by `mtrl_sklearn._training.saving.saveable`, and can be made
    without arguments.
    """

    def get_params(self, deep: bool = True) -> dict[str, Any]: ...

    def check_parameters(self) -> None:
        """Raise InvalidParameterError where a parameter is out of range."""
        ...

    def fitted_form(self) -> FittedForm:
        """All that it has learned, with what training goes on from."""
        ...

    def check_fitted_form(self, values: dict[str, Any]) -> None:
        """Raise Refusal unless values are those of a fit with its parameters."""
        ...

    def set_fitted_form(self, form: FittedForm) -> None:
        """Take over what an estimator of the same kind has learned."""
        ...

    @staticmethod
    def read_older(
        parameters: dict[str, Any], values: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Parameters and fitted values of a file, under their names of today."""
        ...


class SaveableRepresentation(Representation, Saveable, Protocol):
    """A network of which a fitted `LinearProbe` can be saved."""

    first_layer_attributes: tuple[str, ...]  # which fine-tuning moves

    @property
    def n_source_probabilities(self) -> int:
        """Number of columns of `source_probabilities`."""
        ...

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray: ...


class Exportable(Protocol):
    """An estimator that `to_onnx` writes."""

    def write_onnx(self, graph: "Graph") -> None:
        """Add its inputs, and an output for each of its methods, to a graph."""
        ...


class ExportableRepresentation(Exportable, Representation, Protocol):
    """A network of which `to_onnx` writes probes."""

    def embed_onnx(self, graph: "Graph", X: str | None = None) -> "NetworkValues":
        """Add the network, without outputs, to a graph.

        Parameters
        ----------
        graph : Graph
        X : str, default=None
            The input of the graph that it sees. None adds one.
        """
        ...


def with_attributes(estimator: Any, attributes: Mapping[str, Any]) -> Any:
    """A shallow copy of an estimator with other attributes.

    Parameters
    ----------
    estimator : fitted estimator
    attributes : dict
    """
    twin = copy(estimator)
    vars(twin).update(attributes)
    return twin
