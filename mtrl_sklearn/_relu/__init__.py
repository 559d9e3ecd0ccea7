"""The two-layer ReLU network, which is trained on many binary tasks."""

from mtrl_sklearn._relu.estimator import MultiTaskReLURepresentation

__all__ = ["MultiTaskReLURepresentation"]
