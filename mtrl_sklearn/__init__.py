"""Representations learned from many binary tasks, for new tasks with few labels.

Estimators, in the manner of scikit-learn:

- `MultiTaskReLURepresentation`: features for new tasks, learned from many binary tasks
  on the same kind of rows, most of whose labels may be missing.
- `ConvMultiTaskClassifier`: one classifier of images, signals or rows of patches for
  many sources that share their classes.

Files:

- `save` and `load`: estimators and probes, without executing anything.
- `to_onnx`: a graph that predicts without this package.

Modules:

- `mtrl_sklearn.probing`: `LinearProbe`, the classifier of a new task; what it gains,
  and whether it will.
- `mtrl_sklearn.metrics`: scores with missing labels, distances of subspaces.
- `mtrl_sklearn.model_selection`: cross-validation with missing labels.
- `mtrl_sklearn.plotting`: pictures of what was learned.
- `mtrl_sklearn.datasets`: tasks to try it on.
- `mtrl_sklearn.preprocessing`: the contrast of images.
- `mtrl_sklearn.persistence`: home of `save`, `load` and `to_onnx`.

>>> from mtrl_sklearn import MultiTaskReLURepresentation
>>> from mtrl_sklearn.datasets import make_subspace_tasks
>>> X, Y, *_ = make_subspace_tasks(random_state=0)
>>> quick = MultiTaskReLURepresentation(64, algorithm="one_step", random_state=0)
>>> quick.fit_transform(X, Y).shape
(2000, 64)
"""

from mtrl_sklearn._conv.estimator import ConvMultiTaskClassifier
from mtrl_sklearn._relu.estimator import MultiTaskReLURepresentation
from mtrl_sklearn._version import __version__
from mtrl_sklearn.persistence import load, save, to_onnx

__all__ = [
    "ConvMultiTaskClassifier",
    "MultiTaskReLURepresentation",
    "__version__",
    "load",
    "save",
    "to_onnx",
]
