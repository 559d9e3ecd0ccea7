"""The two-layer convolutional network, whose tasks share their classes."""

from mtrl_sklearn._conv.estimator import ConvMultiTaskClassifier

__all__ = ["ConvMultiTaskClassifier"]
