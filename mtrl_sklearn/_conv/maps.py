"""Responses of filters at their positions, and what these add to the scores."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from mtrl_sklearn._arrays.precision import resolve_device
from mtrl_sklearn._arrays.threads import fork_safe
from mtrl_sklearn._conv.labels import PER_TASK
from mtrl_sklearn._conv.network import ConvNetwork
from mtrl_sklearn._conv.patches import PatchGrid
from mtrl_sklearn._conv.pooling import map_positions
from mtrl_sklearn._labels.columns import read_task_ids


class FeatureMapsMixin:
    """Maps of the network over the positions of its filters.

    A subclass provides the fitted network, ``_read_rows``, ``_patch_grid`` and
    ``_find_heads`` of `ClassPredictionsMixin`.
    """

    _read_rows: Callable[..., np.ndarray]
    _patch_grid: Callable[[], PatchGrid]
    _network: Callable[[], ConvNetwork]
    _find_heads: Callable[[Any], np.ndarray | int]
    head_coef_: np.ndarray
    power_: float
    device: str
    _head_: str

    @fork_safe()
    def feature_maps(self, X: Any) -> np.ndarray:
        """Responses of the filters at each of their positions.

        Their means (or sums) over the cells of ``pooling_`` are what `transform`
        returns.

        Parameters
        ----------
        X : array-like
            Inputs, as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_filters, n_rows, n_columns)
            ``max(0, <w_r, x_h> + b_r) ** power_``, of the dtype of X. Rows and columns
            are positions of the filters, ``stride_`` pixels apart. Signals and rows of
            patches have a single axis of positions.

        Raises
        ------
        ValueError
            If X is not like that of fit.
        """
        check_is_fitted(self)
        rows = self._read_rows(X, empty=True)
        maps = self._map_positions(rows, lambda responses, _: responses.swapaxes(1, 2))
        return maps.reshape(*maps.shape[:2], *self._patch_grid().positions)

    @fork_safe()
    def evidence(self, X: Any, tasks: Any = None) -> np.ndarray:
        """What each position adds to the scores of an input.

        Scores are linear in the responses, so this is exact: the sum over positions,
        plus ``head_intercept_``, is what `decision_function` returns.

        Parameters
        ----------
        X : array-like
            Inputs, as in `fit`.
        tasks : array-like of shape (n_samples,), default=None
            The task whose head scores each row: its source, or a column of y. Only
            ``head="per_task"`` asks for it.

        Returns
        -------
        ndarray of shape (n_samples, n_scores, n_rows, n_columns)
            A map for each class; for two classes a single one, positive where it
            speaks for the second.

        Raises
        ------
        ValueError
            If X is not like that of fit, or tasks are lacking or not known.
        """
        check_is_fitted(self)
        rows, grid = self._read_rows(X, empty=True), self._patch_grid()
        ids = None if tasks is None else read_task_ids(tasks)
        if ids is not None and len(ids) != len(rows):
            raise ValueError(
                f"tasks has {len(ids)} ids for {len(rows)} rows of X. Pass one each."
            )
        heads: np.ndarray | int = 0
        if self._head_ == PER_TASK:
            heads = self._find_heads(ids)
        n_scores, n_pooled = self.head_coef_.shape[-2:]
        coef = self.head_coef_.reshape(
            -1, n_scores, grid.n_cells, n_pooled // grid.n_cells
        )
        # what a response of each filter at each position counts
        weights = np.einsum("tscr,ch->tshr", coef, grid.pooling_matrix())
        weights = weights.astype(rows.dtype if rows.dtype.kind == "f" else np.float32)

        def score(responses: np.ndarray, block: slice) -> np.ndarray:
            if isinstance(heads, int):
                return np.einsum("shr,nhr->nsh", weights[heads], responses)
            return np.einsum("nshr,nhr->nsh", weights[heads[block]], responses)

        maps = self._map_positions(rows, score)
        return maps.reshape(len(rows), n_scores, *grid.positions)

    def _map_positions(
        self, rows: np.ndarray, finish: Callable[[np.ndarray, slice], np.ndarray]
    ) -> np.ndarray:
        device = resolve_device(self.device)
        network, grid = self._network(), self._patch_grid()
        return map_positions(rows, network, grid, self.power_, device, finish)
