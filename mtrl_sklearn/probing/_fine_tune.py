"""Both layers trained on a new task, from a linear probe on."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, softplus

from mtrl_sklearn._arrays.conversion import as_numpy
from mtrl_sklearn._conv.estimator import ConvMultiTaskClassifier
from mtrl_sklearn._conv.gradients import pool_responses
from mtrl_sklearn._relu.estimator import MultiTaskReLURepresentation
from mtrl_sklearn.probing._ridge_logistic import (
    LinearModel,
    block_scale,
    block_scales,
)

# Penalty on the squared relative change of the first layer, per hidden unit. With less
# of it few labels spoil the layer; many labels overcome it.
STIFFNESS = 100.0
MAX_ITER = 100


class FirstLayer(NamedTuple):
    """What is trained of a representation, and the features that follow from it.

    Inputs are centred and scaled, so that nothing depends on their units or origin.
    """

    weights: Tensor  # (n_hidden, n_inputs of a unit)
    biases: Tensor | None  # (n_hidden,)
    features: Callable[[Tensor, Tensor], Tensor]  # to (n_samples, n_features)
    restore: Callable[[Tensor, Tensor], dict[str, np.ndarray]]  # fitted attributes


def open_first_layer(estimator: Any, X: Any) -> FirstLayer:
    """The first layer of an estimator of this package, at given rows.

    Parameters
    ----------
    estimator : fitted MultiTaskReLURepresentation or ConvMultiTaskClassifier
    X : array-like
        What it accepts.

    Raises
    ------
    TypeError
        For any other estimator.
    ValueError
        If the representation does not return hidden features.
    """
    if isinstance(estimator, MultiTaskReLURepresentation):
        if estimator.output != "hidden":
            raise ValueError(
                f"fine_tune=True trains hidden features, but the representation has "
                f"output={estimator.output!r}. Set output='hidden'."
            )
        return _open_relu(estimator, np.asarray(as_numpy(X, "X"), dtype=np.float64))
    if isinstance(estimator, ConvMultiTaskClassifier):
        return _open_conv(estimator, estimator._read_rows(X).astype(np.float64))
    raise TypeError(
        "fine_tune=True needs a MultiTaskReLURepresentation or a "
        "ConvMultiTaskClassifier, alone or at the end of a pipeline, got "
        f"{type(estimator).__name__}. Set fine_tune=False."
    )


def _open_relu(estimator: MultiTaskReLURepresentation, rows: np.ndarray) -> FirstLayer:
    mean, scale = rows.mean(axis=0), block_scale(rows)
    scale = scale if np.isfinite(scale) else 1.0
    W, b = estimator.hidden_weights_.astype(float), estimator.hidden_biases_
    inputs = torch.from_numpy((rows - mean) / scale)

    def features(weights: Tensor, biases: Tensor) -> Tensor:
        return torch.addmm(biases, inputs, weights.T).relu()

    def restore(weights: Tensor, biases: Tensor) -> dict[str, np.ndarray]:
        raw = weights.numpy() / scale
        return {"hidden_weights_": raw, "hidden_biases_": biases.numpy() - raw @ mean}

    return FirstLayer(
        torch.from_numpy(W * scale), torch.from_numpy(b + W @ mean), features, restore
    )


def _open_conv(estimator: ConvMultiTaskClassifier, rows: np.ndarray) -> FirstLayer:
    """Filters see inputs divided by ``scale_``; one number centres them if biases do.

    Above power 1 the network is homogeneous: no biases, no centre.
    """
    shape, power = estimator.filters_.shape, estimator.power_
    grid, scale = estimator._patch_grid(), estimator.scale_
    centre = rows.mean() / scale if power == 1 else 0.0
    W = estimator.filters_.astype(float).reshape(len(estimator.filters_), -1)
    places, pool = (
        torch.from_numpy(grid.places()),
        torch.from_numpy(grid.pooling_matrix().astype(float)),
    )
    patches = grid.extract(torch.from_numpy(rows / scale - centre), places)

    def features(weights: Tensor, biases: Tensor) -> Tensor:
        return pool_responses(patches, weights, biases, pool, power).pooled

    def restore(weights: Tensor, biases: Tensor) -> dict[str, np.ndarray]:
        raw = weights.numpy()
        found = {"filters_": raw.reshape(shape)}
        if power == 1:
            found["biases_"] = biases.numpy() - centre * raw.sum(axis=1)
        return found

    biases = torch.from_numpy(estimator.biases_ + centre * W.sum(axis=1))
    return FirstLayer(
        torch.from_numpy(W), biases if power == 1 else None, features, restore
    )


def fine_tune(
    layer: FirstLayer,
    blocks: dict[str, np.ndarray],
    codes: np.ndarray,
    model: LinearModel,
    weights: dict[str, float],
    C: float,
) -> tuple[LinearModel, dict[str, np.ndarray]]:
    """Minimise the objective of the probe over the first layer too.

    The first layer pays ``50 m * ||V - V0||^2 / ||V0||^2`` for moving from V0 to V,
    with m the number of hidden units.

    Parameters
    ----------
    layer : FirstLayer
    blocks : dict of ndarrays of shape (n_samples, n_columns of the block)
        Features of the first layer as it was, "hidden" among them.
    codes : ndarray of shape (n_samples,)
        Labels from 0 to n_classes - 1.
    model : LinearModel
        The probe on these blocks, where it starts.
    weights : dict of float
    C : float

    Returns
    -------
    model : LinearModel
    arrays : dict of ndarrays
        Fitted attributes of the first layer.
    """
    start = [part for part in (layer.weights, layer.biases) if part is not None]
    moved = [part.clone().requires_grad_() for part in start]
    no_biases = layer.weights.new_zeros(len(layer.weights))
    # Coefficients for blocks divided by their factors, in which the penalty is plain.
    scales = block_scales(blocks)
    factors = {n: weights[n] ** 0.5 / scales[n] for n in model.coef}
    # That of a block which does not vary is 0, and stays there.
    initial = {n: c / (factors[n] or 1) for n, c in model.coef.items()}
    coef = {
        # scikit-learn's may be in the order of Fortran, which LBFGS cannot flatten
        n: torch.from_numpy(np.ascontiguousarray(c)).requires_grad_()
        for n, c in initial.items()
    }
    intercept = torch.tensor(model.intercept, requires_grad=True)
    fixed = {n: torch.tensor(blocks[n] * factors[n]).double() for n in coef}
    norm = float(sum(part.square().sum() for part in start)) or 1.0
    stiffness = STIFFNESS * len(layer.weights) / norm
    labels = torch.from_numpy(codes)

    def objective() -> Tensor:
        hidden = layer.features(*moved, *[no_biases][len(moved) - 1 :])
        seen = fixed | {"hidden": hidden * factors.get("hidden", 0.0)}
        scores = sum(seen[n] @ c.T for n, c in coef.items()) + intercept
        if scores.shape[1] == 1:
            loss = softplus(scores[:, 0] * (1 - 2 * labels)).sum()
        else:
            loss = cross_entropy(scores, labels, reduction="sum")
        ridge = sum(c.square().sum() for c in coef.values())
        move = sum((a - b).square().sum() for a, b in zip(moved, start))
        return C * loss + (ridge + stiffness * move) / 2

    optimizer = torch.optim.LBFGS(
        [*moved, *coef.values(), intercept],
        max_iter=MAX_ITER,
        history_size=10,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = objective()
        value.backward()
        return value

    optimizer.step(closure)
    found = [part.detach() for part in moved]
    tuned = {n: c.detach().numpy() * factors[n] for n, c in coef.items()}
    arrays = layer.restore(*found, *[no_biases][len(found) - 1 :])
    return LinearModel(tuned, intercept.detach().numpy()), arrays
