"""Training loss per epoch, and validation scores where there are any."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from mtrl_sklearn._arrays.validation import naming_numbers
from mtrl_sklearn._training.representation import Representation
from mtrl_sklearn.plotting._common import (
    BLUE,
    VERMILLION,
    check_estimator,
    get_axes,
    leave_out_offset,
    require_matplotlib,
    set_count_ticks,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

# A loss that falls by this factor would hide its end on a linear axis.
MANY_DECADES = 50
# Up to so many epochs have a marker each, without which a single one were invisible.
MANY_EPOCHS = 40


class LossCurveDisplay:
    """Training loss per epoch, and the score of held-out rows on a second axis.

    Each axis has the colour of its curve; the solid curve is the loss, the dashed one
    the score, with a star at its highest value, to which early stopping returns. The
    axis of a loss that falls by a factor of 50 or more is logarithmic.

    Parameters
    ----------
    loss_curve : array-like of shape (n_epochs,)
        Training loss.
    validation_scores : array-like of shape (n_epochs,), default=None
        Score of held-out rows, higher is better.
    validation_name : str, default="validation score"
        Name of that score, on its axis.
    epoch_name : str, default="epoch"
        What an entry of the curves is, on the horizontal axis.

    Attributes
    ----------
    ax_ : matplotlib Axes
    validation_ax_ : matplotlib Axes or None
        The axes of the validation score, which share the horizontal axis.
    figure_ : matplotlib Figure
    line_ : matplotlib Line2D
    validation_line_ : matplotlib Line2D or None

    Raises
    ------
    ValueError
        If an array is not one row of finite numbers, or lengths differ.

    Examples
    --------
    >>> from mtrl_sklearn import ConvMultiTaskClassifier
    >>> from mtrl_sklearn.datasets import make_patch_tasks
    >>> from mtrl_sklearn.plotting import LossCurveDisplay
    >>> X, y, tasks, *_ = make_patch_tasks(n_tasks=4, n_features=20, random_state=0)
    >>> classifier = ConvMultiTaskClassifier(16, random_state=0).fit(X, y, tasks)
    >>> display = LossCurveDisplay.from_estimator(classifier)
    >>> len(display.loss_curve) == classifier.n_iter_
    True
    """

    ax_: Axes
    validation_ax_: Axes | None
    figure_: Figure | SubFigure
    line_: Line2D
    validation_line_: Line2D | None

    def __init__(
        self,
        loss_curve: ArrayLike,
        *,
        validation_scores: ArrayLike | None = None,
        validation_name: str = "validation score",
        epoch_name: str = "epoch",
    ):
        self.loss_curve = _check_row(loss_curve, "loss_curve")
        self.validation_scores = None
        if validation_scores is not None:
            self.validation_scores = _check_row(validation_scores, "validation_scores")
            if len(self.validation_scores) != len(self.loss_curve):
                raise ValueError(
                    f"validation_scores has {len(self.validation_scores)} entries, "
                    f"loss_curve {len(self.loss_curve)}. Pass one of each per epoch."
                )
        self.validation_name = validation_name
        self.epoch_name = epoch_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Representation,
        *,
        ax: Axes | None = None,
    ) -> LossCurveDisplay:
        """Plot how the training of an estimator went.

        Parameters
        ----------
        estimator : MultiTaskReLURepresentation or ConvMultiTaskClassifier
            Fitted; or another `Representation` with ``loss_curve_``, and where there
            are any ``validation_scores_``, ``validation_name`` and ``epoch_name``.
            Validation scores are there with ``early_stopping=True``.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        display : LossCurveDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError
            If it is an estimator without these.
        NotFittedError
            If it is not fitted.
        """
        require_matplotlib(f"{cls.__name__}.from_estimator")
        example = "MultiTaskReLURepresentation or a ConvMultiTaskClassifier"
        check_estimator(estimator, "estimator", example, ["loss_curve_"])
        # what check_estimator has found, types do not know
        losses = estimator.loss_curve_  # type: ignore[attr-defined]
        scores = getattr(estimator, "validation_scores_", None)
        if scores is not None and len(scores) != len(losses):
            # Some of the fits that a warm start joins held nothing out.
            scores = None
        return cls(
            losses,
            validation_scores=scores,
            validation_name=getattr(estimator, "validation_name", "validation score"),
            epoch_name=getattr(estimator, "epoch_name", "epoch"),
        ).plot(ax)

    def plot(self, ax: Axes | None = None) -> LossCurveDisplay:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        self : LossCurveDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = get_axes(ax, self)
        self.ax_, self.figure_ = ax, ax.figure
        losses, scores = self.loss_curve, self.validation_scores
        epochs = np.arange(1, len(losses) + 1)
        marker = "o" if len(losses) <= MANY_EPOCHS else ""
        (self.line_,) = ax.plot(
            epochs, losses, color=BLUE, marker=marker, markersize=4, linewidth=2
        )
        if losses.min() > 0 and losses.max() >= MANY_DECADES * losses.min():
            ax.set_yscale("log")
        leave_out_offset(ax.yaxis)
        ax.set_xlabel(self.epoch_name)
        ax.set_ylabel("training loss")
        set_count_ticks(ax.xaxis, len(losses))
        tidy(ax)
        self.validation_ax_ = self.validation_line_ = None
        if scores is not None:
            ax.set_ylabel("training loss", color=BLUE)
            ax.tick_params(axis="y", labelcolor=BLUE)
            self._draw_scores(ax, epochs, scores)
        return self

    def _draw_scores(self, ax: Axes, epochs: np.ndarray, scores: np.ndarray) -> None:
        right = ax.twinx()
        (self.validation_line_,) = right.plot(
            epochs, scores, "--", color=VERMILLION, linewidth=2
        )
        best = int(scores.argmax())
        right.plot(epochs[best], scores[best], "*", color=VERMILLION, markersize=13)
        ax.set_xlabel(f"{self.epoch_name} (star: the best one, {best + 1})")
        right.set_ylabel(self.validation_name, color=VERMILLION)
        right.tick_params(axis="y", labelcolor=VERMILLION)
        right.spines[["top", "left"]].set_visible(False)
        self.validation_ax_ = right


def _check_row(values: ArrayLike, name: str) -> np.ndarray:
    with naming_numbers(values, name) as given:
        row: np.ndarray = check_array(
            given, dtype=np.float64, ensure_2d=False, input_name=name
        )
    if row.ndim != 1:
        raise ValueError(
            f"{name} should have shape (n_epochs,), got {row.shape}. Pass one number "
            "per epoch."
        )
    return row
