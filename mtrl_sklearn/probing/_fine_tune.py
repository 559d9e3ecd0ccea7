"""Both layers trained on a new task, from a linear probe on."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, softplus

from mtrl_sklearn._arrays.centred import Block
from mtrl_sklearn._arrays.products import multiply
from mtrl_sklearn._arrays.rows import to_tensor
from mtrl_sklearn._training.representation import TrainableLayer
from mtrl_sklearn.probing._ridge_logistic import LinearModel, block_scales

# Penalty on the squared relative change of the first layer, per hidden unit. With less
# of it few labels spoil the layer; many labels overcome it.
STIFFNESS = 100.0
MAX_ITER = 100


def open_first_layer(estimator: Any, X: Any) -> TrainableLayer:
    """The first layer of a network, at given rows.

    Parameters
    ----------
    estimator : fitted Representation
    X : array-like
        What it accepts.

    Raises
    ------
    TypeError
        If it has none that can be trained.
    """
    if not hasattr(estimator, "first_layer"):
        raise TypeError(
            "fine_tune=True needs a MultiTaskReLURepresentation, a "
            "ConvMultiTaskClassifier or another network with a method first_layer, "
            "alone or at the end of a pipeline, got "
            f"{type(estimator).__name__}. Set fine_tune=False."
        )
    return estimator.first_layer(X)


def fine_tune(
    layer: TrainableLayer,
    blocks: dict[str, Block],
    codes: np.ndarray,
    model: LinearModel,
    weights: dict[str, float],
    C: float,
    offset: np.ndarray,
    loss_weights: np.ndarray,
    row_weights: np.ndarray,
) -> tuple[LinearModel, dict[str, np.ndarray]]:
    """Minimise the objective of the probe over the first layer too.

    The first layer pays ``50 m * ||V - V0||^2 / ||V0||^2`` for moving from V0 to V,
    with m the number of hidden units.

    Parameters
    ----------
    layer : TrainableLayer
    blocks : dict of arrays of shape (n_samples, n_columns of the block)
        Features of the first layer as it was, "hidden" among them.
    codes : ndarray of shape (n_samples,)
        Labels from 0 to n_classes - 1.
    model : LinearModel
        The probe on these blocks, where it starts.
    weights : dict of float
    C : float
    offset : ndarray of shape (n_samples,)
        Added to the score of two classes, and not trained.
    loss_weights, row_weights : ndarray of shape (n_samples,)
        Weights of losses, and how often each row counts where blocks are scaled.

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
    scales = block_scales(blocks, row_weights)
    factors = {n: weights[n] ** 0.5 / scales[n] for n in model.coef}
    # That of a block which does not vary is 0, and stays there.
    initial = {n: c / (factors[n] or 1) for n, c in model.coef.items()}
    coef = {
        # scikit-learn's may be in the order of Fortran, which LBFGS cannot flatten
        n: torch.from_numpy(np.ascontiguousarray(c)).requires_grad_()
        for n, c in initial.items()
    }
    intercept = torch.tensor(model.intercept, requires_grad=True)
    fixed = {
        n: to_tensor((blocks[n] * factors[n]).astype(np.float64), "cpu") for n in coef
    }
    norm = float(sum(part.square().sum() for part in start)) or 1.0
    stiffness = STIFFNESS * len(layer.weights) / norm
    labels, shift = torch.from_numpy(codes), torch.from_numpy(offset)
    counts = torch.from_numpy(loss_weights)

    def objective() -> Tensor:
        hidden = layer.features(*moved, *[no_biases][len(moved) - 1 :])
        seen = fixed | {"hidden": hidden * factors.get("hidden", 0.0)}
        scores = sum(multiply(seen[n], c.T) for n, c in coef.items()) + intercept
        if scores.shape[1] == 1:
            losses = softplus((scores[:, 0] + shift) * (1 - 2 * labels))
        else:
            losses = cross_entropy(scores, labels, reduction="none")
        loss = (counts * losses).sum()
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
