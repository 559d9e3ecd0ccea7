"""Fitted estimators as ONNX graphs, which predict where this package is not installed.

Estimators write their own graphs: see `Exportable`.
"""

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from mtrl_sklearn._optional import require
from mtrl_sklearn._training.onnx_graph import Graph

if TYPE_CHECKING:
    from onnx import ModelProto

DESCRIBED = (
    "classes_",
    "output_names_",
    "task_names_",
    "tasks_",
    "columns_",
    "feature_names_in_",
)


def to_onnx(estimator: Any) -> "ModelProto":
    """Write a fitted estimator as an ONNX graph.

    The graph has an output for each method of the estimator, named after it, with the
    shape and the values that the method returns: "transform", "decision_function",
    "predict_proba" and "predict", as far as the estimator has them.

    Parameters
    ----------
    estimator : MultiTaskReLURepresentation, ConvMultiTaskClassifier or LinearProbe
        Fitted. The representation of a probe is one of the other two, or None.

    Returns
    -------
    onnx.ModelProto
        ``onnx.save(model, path)`` writes it to a file. Its inputs are

        - "X" of shape (n_samples, n_features), or for the convolutional network
          (n_samples,) and then ``input_shape_``. It is float32 where the weights of the
          network are, else float64;
        - "tasks" of shape (n_samples,), only where each of several tasks has a head,
          and labels had no column for each. It is int64 or strings, and `onnxruntime`
          refuses an id without a head.

        Its ``metadata_props`` hold ``classes_``, ``output_names_``, ``task_names_``,
        ``tasks_``, ``columns_`` and ``feature_names_in_`` as JSON, those that there
        are.

    Raises
    ------
    ImportError
        If onnx is not installed.
    TypeError
        If it is another kind of estimator, or a probe of another kind.
    NotFittedError
        If it is not fitted.
    ValueError
        If ids of tasks with a head each are neither strings nor integers, weights are
        not finite, or the representation of a probe is another one than in its fit.

    Notes
    -----
    Labels that "predict" gives keep their type; where columns of ``y`` mix strings,
    booleans and numbers, all of them are strings.

    Results agree with those of the estimator up to rounding, for X of the type of the
    graph. In float32 an offset of X that is large against its spread costs digits, in
    either; centre X before, or fit on float64. Fit on float32 for runtimes that lack
    float64; probes need it all the same, for their scores.

    X is dense, and nothing checks that it is finite: rows with NaN get labels too.

    Graphs use version 17 of the operators, which `onnxruntime` has from 1.12 on. With
    heads of tasks it should be 1.24.4: older ones end the process where ids are fewer
    than rows.
    They hold all patches of a batch at once, so pass many images in parts.

    Examples
    --------
    >>> import onnx
    >>> from mtrl_sklearn import MultiTaskReLURepresentation, to_onnx
    >>> from mtrl_sklearn.datasets import make_subspace_tasks
    >>> X, Y, *_ = make_subspace_tasks(random_state=0)
    >>> representation = MultiTaskReLURepresentation(128, random_state=0).fit(X, Y)
    >>> model = to_onnx(representation)
    >>> [output.name for output in model.graph.output]
    ['transform', 'decision_function', 'predict_proba', 'predict']
    >>> onnx.checker.check_model(model, full_check=True)
    """
    onnx = require("onnx", "onnx", "to_onnx")
    # Not at the top: probes import linear models, which a fit has no use for.
    from mtrl_sklearn.probing._blocks import unfreeze

    estimator = unfreeze(estimator)
    if isinstance(estimator, type) or not hasattr(estimator, "write_onnx"):
        raise TypeError(
            "to_onnx writes MultiTaskReLURepresentation, ConvMultiTaskClassifier and "
            f"LinearProbe, got {type(estimator).__name__}, which lacks a method "
            "write_onnx. Of a pipeline pass the step itself, pipeline[-1], and feed "
            "its graph what the steps before it return."
        )
    check_is_fitted(estimator)
    graph = Graph(onnx)
    estimator.write_onnx(graph)
    return graph.to_model(_describe(estimator))


def _describe(estimator: Any) -> dict[str, str]:
    """Fitted attributes of labels, tasks and features, as JSON."""
    fitted = {name: vars(estimator).get(name) for name in DESCRIBED}
    return {
        name: json.dumps(value, default=_as_list)
        for name, value in fitted.items()
        if value is not None
    }


def _as_list(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else str(value)
