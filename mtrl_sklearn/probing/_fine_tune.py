"""Both layers trained on a new task, from a linear probe on."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, softplus

from mtrl_sklearn._conv import ConvMultiTaskClassifier
from mtrl_sklearn._gradients import pool_responses
from mtrl_sklearn._relu import MultiTaskReLURepresentation
from mtrl_sklearn.probing._ridge_logistic import LinearModel, block_scale

# Penalty on the squared relative change of the first layer, per hidden unit. With less
# of it few labels spoil the layer; many labels overcome it.
STIFFNESS = 100.0
MAX_ITER = 100


class FirstLayer(NamedTuple):
    """What is trained of a representation, and the features that follow from it."""

    arrays: dict[str, np.ndarray]  # fitted attributes
    features: Callable[[dict[str, Tensor]], Tensor]  # (n_samples, n_hidden)


def open_first_layer(estimator: Any, X: Any) -> FirstLayer:
    """The first layer of an estimator of this package, at given rows.

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
        rows = torch.as_tensor(np.asarray(X), dtype=torch.float64)

        def hidden(p: dict[str, Tensor]) -> Tensor:
            biases, weights = p["hidden_biases_"], p["hidden_weights_"]
            return torch.addmm(biases, rows, weights.T).relu()

        names, features = ["hidden_weights_", "hidden_biases_"], hidden
    elif isinstance(estimator, ConvMultiTaskClassifier):
        grid = estimator._patch_grid()
        places, pool = (
            torch.from_numpy(a) for a in (grid.places(), grid.pooling_matrix())
        )
        scaled = torch.as_tensor(estimator._read_rows(X) / estimator.scale_)
        patches = grid.extract(scaled.double(), places)

        def pooled(p: dict[str, Tensor]) -> Tensor:
            filters = p["filters_"].flatten(1)
            biases = p.get("biases_", filters.new_zeros(len(filters)))
            return pool_responses(
                patches, filters, biases, pool.double(), estimator.power_
            ).pooled

        names, features = ["filters_", "biases_"], pooled
        if estimator.power_ > 1:  # a homogeneous network
            names = names[:1]
    else:
        raise TypeError(
            "fine_tune=True needs a MultiTaskReLURepresentation or a "
            "ConvMultiTaskClassifier, alone or at the end of a pipeline, got "
            f"{type(estimator).__name__}. Set fine_tune=False."
        )
    return FirstLayer({name: getattr(estimator, name) for name in names}, features)


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
        The first layer; new arrays of the given types.
    """
    start = {n: torch.as_tensor(a).double() for n, a in layer.arrays.items()}
    moved = {name: a.clone().requires_grad_() for name, a in start.items()}
    coef = {n: torch.tensor(c, requires_grad=True) for n, c in model.coef.items()}
    intercept = torch.tensor(model.intercept, requires_grad=True)
    fixed = {n: torch.as_tensor(blocks[n]).double() for n in coef if n != "hidden"}
    factors = {n: weights[n] ** 0.5 / block_scale(blocks[n]) for n in coef}
    norm = sum(a.square().sum() for a in start.values())
    stiffness = STIFFNESS * len(next(iter(start.values()))) / norm
    labels = torch.from_numpy(codes)

    def objective() -> Tensor:
        seen = fixed | {"hidden": layer.features(moved)}
        scores = sum(seen[n] @ c.T for n, c in coef.items()) + intercept
        if scores.shape[1] == 1:
            loss = softplus(scores[:, 0] * (1 - 2 * labels)).sum()
        else:
            loss = cross_entropy(scores, labels, reduction="sum")
        ridge = sum((c / factors[n]).square().sum() for n, c in coef.items())
        move = sum((moved[n] - a).square().sum() for n, a in start.items())
        return C * loss + (ridge + stiffness * move) / 2

    trained = [*moved.values(), *coef.values(), intercept]
    optimizer = torch.optim.LBFGS(
        trained, max_iter=MAX_ITER, history_size=10, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = objective()
        value.backward()
        return value

    optimizer.step(closure)
    tuned = {n: c.detach().numpy() for n, c in coef.items()}
    arrays = {
        name: a.detach().numpy().astype(layer.arrays[name].dtype)
        for name, a in moved.items()
    }
    return LinearModel(tuned, intercept.detach().numpy()), arrays
