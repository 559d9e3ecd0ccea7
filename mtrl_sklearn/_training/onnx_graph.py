"""A computation as an ONNX graph in the making, and what all estimators add to one.

A graph takes the steps of the estimator's own methods, in the precision of its weights.
"""

from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mtrl_sklearn._labels.encoding import LabelEncoding
from mtrl_sklearn._version import __version__

if TYPE_CHECKING:
    from onnx import ModelProto

# Versions of 2022, which runtimes older than this package know.
IR_VERSION = 8
OPSETS = {"": 17, "ai.onnx.ml": 3}

# For operators that drop or add the axis of columns, and that keep a length.
AXIS = np.array([1])
KEPT = 0


class Graph:
    """A computation in the making, whose values go by their names."""

    def __init__(self, onnx: ModuleType):
        self.onnx = onnx
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def add_input(self, name: str, dtype: Any, shape: Sequence[int] = ()) -> str:
        """Declare an input whose rows have a shape."""
        self.inputs.append(self._declare(name, dtype, shape))
        return name

    def add_output(
        self, name: str, value: str, dtype: Any, shape: Sequence[int] = ()
    ) -> None:
        """Declare a value whose rows have a shape to be a result."""
        self.outputs.append(self._declare(name, dtype, shape))
        self.nodes.append(self.onnx.helper.make_node("Identity", [value], [name]))

    def apply(
        self,
        operator: str,
        operands: Sequence[str | np.ndarray],
        attributes: dict[str, Any] | None = None,
        domain: str = "",
    ) -> str:
        """Name of what an operator makes of values, and of arrays."""
        names = [o if isinstance(o, str) else self._store(o) for o in operands]
        result = f"{operator}_{len(self.nodes)}"
        node = self.onnx.helper.make_node(
            operator, names, [result], domain=domain, **(attributes or {})
        )
        self.nodes.append(node)
        return result

    def to_model(self, metadata: dict[str, str]) -> "ModelProto":
        """Everything that the outputs depend on."""
        helper = self.onnx.helper
        needed = {output.name for output in self.outputs}
        nodes: list[Any] = []
        for node in reversed(self.nodes):
            if node.output[0] in needed:
                nodes.insert(0, node)
                needed.update(node.input)
        constants = [c for name, c in self.constants.items() if name in needed]
        graph = helper.make_graph(
            nodes, "mtrl_sklearn", self.inputs, self.outputs, constants
        )
        domains = sorted({node.domain for node in nodes})
        model = helper.make_model(
            graph,
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid(d, OPSETS[d]) for d in domains],
            producer_name="mtrl_sklearn",
            producer_version=__version__,
        )
        helper.set_model_props(model, metadata)
        return model

    def _store(self, array: np.ndarray) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants[name] = self.onnx.numpy_helper.from_array(array, name)
        return name

    def _declare(self, name: str, dtype: Any, shape: Sequence[int]) -> Any:
        helper = self.onnx.helper
        element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return helper.make_tensor_value_info(name, element, ["n_samples", *shape])


class NetworkValues(NamedTuple):
    """What a network makes of rows, as values of a graph."""

    X: str  # the input
    dtype: Any  # of all values
    features: str  # (n_samples, n_features_out): what `transform` returns
    scores: str  # (n_samples, n_tasks), or (n_samples, n_heads * n_columns)
    probabilities: str  # of the shape of scores: what a probe sees


def check_finite(estimator: Any, names: Iterable[str]) -> None:
    """Refuse weights by which all predictions would be NaN, or the first class.

    Parameters
    ----------
    estimator : fitted estimator
    names : iterable of str
        Attributes that are arrays, or dicts of arrays.
    """
    for name in names:
        value = getattr(estimator, name)
        parts = {name: value}
        if isinstance(value, dict):
            parts = {f"{name}[{key!r}]": array for key, array in value.items()}
        for part, array in parts.items():
            if not np.isfinite(array).all():
                raise ValueError(
                    f"{part} of this {type(estimator).__name__} holds NaN or infinity, "
                    "which fit does not make. Fit it again."
                )


def affine(graph: Graph, X: str, weights: np.ndarray, biases: np.ndarray | str) -> str:
    """``X @ weights.T + biases``."""
    products = graph.apply("MatMul", [X, np.ascontiguousarray(weights.T)])
    return graph.apply("Add", [products, biases])


def log_expit(graph: Graph, scores: str) -> str:
    """``log(expit(|s|)) - max(-s, 0)``, which stays finite."""
    sizes = graph.apply("Sigmoid", [graph.apply("Abs", [scores])])
    below = graph.apply("Relu", [graph.apply("Neg", [scores])])
    return graph.apply("Sub", [graph.apply("Log", [sizes]), below])


def class_probabilities(graph: Graph, logits: str, n_classes: int) -> str:
    """Probabilities of shape (n_samples, n_classes)."""
    if n_classes > 2:
        return graph.apply("Softmax", [logits])
    pair = [graph.apply("Neg", [logits]), logits]
    return graph.apply("Sigmoid", [graph.apply("Concat", pair, {"axis": 1})])


def write_class_predictions(
    graph: Graph, scores: str, classes: np.ndarray, dtype: Any
) -> None:
    """Outputs for scores of classes, where a single one is that of the second."""
    encoding = LabelEncoding("single", np.array(["y"]), [classes])
    probabilities = class_probabilities(graph, scores, len(classes))
    write_predictions(graph, scores, probabilities, encoding, dtype)


def write_predictions(
    graph: Graph,
    scores: str,
    probabilities: str | None,
    encoding: LabelEncoding,
    dtype: Any,
) -> None:
    """Outputs for scores of shape (n_samples, n_tasks)."""
    single, n_tasks = encoding.form == "single", encoding.n_tasks
    if single and n_tasks == 1:
        score = graph.apply("Squeeze", [scores, AXIS])
        graph.add_output("decision_function", score, dtype)
    else:
        graph.add_output("decision_function", scores, dtype, [n_tasks])
    if probabilities is not None:
        width = len(encoding.classes[0]) if single else n_tasks
        graph.add_output("predict_proba", probabilities, dtype, [width])
    labels, table = _choose_labels(graph, scores, encoding.classes, dtype)
    if single:
        labels = graph.apply("Squeeze", [labels, AXIS])
    shape = [] if single else [len(encoding.classes)]
    graph.add_output("predict", labels, table.dtype, shape)


def _choose_labels(
    graph: Graph, scores: str, classes: Sequence[np.ndarray], dtype: Any
) -> tuple[str, np.ndarray]:
    """Labels of shape (n_samples, n_outputs), and an array of all there are.

    Each output takes the first of its largest scores. With two classes these are 0 and
    the score of the second one.
    """
    classes = [c if len(c) else np.array([np.nan]) for c in classes]
    sizes = np.array([len(c) for c in classes])
    n_tasks = np.where(sizes > 2, sizes, 1)
    first_tasks, first_labels = n_tasks.cumsum() - n_tasks, sizes.cumsum() - sizes
    sizes, place = sizes[:, None], np.arange(sizes.max())  # (n_outputs, largest size)
    is_scored = (place < sizes) & ((sizes > 2) | (place == 1))
    tasks = first_tasks[:, None] + np.where(is_scored & (sizes > 2), place, 0)
    unscored = np.where(place == 0, 0, -np.inf).astype(dtype)
    found = graph.apply("Gather", [scores, tasks], {"axis": 1})
    votes = graph.apply("Where", [is_scored, found, unscored])
    places = graph.apply("ArgMax", [votes], {"axis": 2, "keepdims": 0})
    places = graph.apply("Add", [places, first_labels])
    labels = join_classes(classes)
    return graph.apply("Gather", [labels, places]), labels


def join_classes(classes: Sequence[np.ndarray]) -> np.ndarray:
    """Classes of all outputs one after another: strings where they mix types."""
    kinds = {c.dtype.kind for c in classes}
    if kinds == {"b"} or kinds <= set("iuf"):
        return np.concatenate(classes)
    return np.concatenate([c.astype(str) for c in classes]).astype(object)
