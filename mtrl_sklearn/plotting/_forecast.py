"""What to expect of a new task, by the number of its labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from mtrl_sklearn.plotting._common import (
    get_axes,
    require_matplotlib,
    set_count_scale,
    set_x_ticks,
    tidy,
)
from mtrl_sklearn.plotting._curves import STYLES, check_curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

METRICS = {
    "roc_auc": "ROC-AUC",
    "delta_auprc": "average precision above prevalence",
    "log_loss": "log loss",
}


class ForecastDisplay:
    """Mean score that a new task will reach, with a band over tasks.

    Parameters
    ----------
    n_labels : array-like of shape (n_counts,)
        Numbers of labels of a new task, which may be 0.
    mean : array-like of shape (n_counts,)
        Of the scores of tasks.
    low, high : array-like of shape (n_counts,)
        10 % and 90 % quantiles over tasks.
    score_name : str, default="score"
        Name of the score, on the vertical axis.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    line_ : matplotlib Line2D

    Raises
    ------
    ValueError
        If shapes do not fit together or a number of labels is negative.

    See Also
    --------
    mtrl_sklearn.probing.ProbeSettings.forecast : The same in numbers and words.

    Examples
    --------
    >>> from mtrl_sklearn.plotting import ForecastDisplay
    >>> display = ForecastDisplay([0, 16], [0.6, 0.7], [0.5, 0.6], [0.7, 0.8])
    >>> display.high
    array([0.7, 0.8])
    """

    ax_: Axes
    figure_: Figure | SubFigure
    line_: Line2D

    def __init__(
        self,
        n_labels: ArrayLike,
        mean: ArrayLike,
        low: ArrayLike,
        high: ArrayLike,
        *,
        score_name: str = "score",
    ):
        curves = []
        for name, values in (("mean", mean), ("low", low), ("high", high)):
            self.n_labels, checked = check_curves(n_labels, values, "n_labels", name)
            curves.append(checked[""][:, 0])
        self.mean, self.low, self.high = curves
        if self.n_labels[0] < 0:
            raise ValueError(
                f"n_labels should be at least 0, got {self.n_labels[0]:g}. Leave it "
                "out."
            )
        self.score_name = score_name

    @classmethod
    def from_settings(
        cls, settings: Any, *, metric: str = "roc_auc", ax: Axes | None = None
    ) -> ForecastDisplay:
        """Plot what left-out source tasks reached.

        Parameters
        ----------
        settings : ProbeSettings
            As `calibrate` returns them.
        metric : {"roc_auc", "delta_auprc", "log_loss"}, default="roc_auc"
            The score to show.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        display : ForecastDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the metric is unknown, or the settings hold no scores.
        TypeError
            If settings are none.
        """
        require_matplotlib(f"{cls.__name__}.from_settings")
        if metric not in METRICS:
            raise ValueError(f"metric={metric!r} should be one of {list(METRICS)}.")
        if not hasattr(settings, "forecast"):
            raise TypeError(
                "settings should be the ProbeSettings that calibrate returns, got "
                f"{settings!r}."
            )
        settings.forecast(0)  # says what is wrong
        n_labels = settings.reached.n_labels
        spreads = [getattr(settings.forecast(n), metric) for n in n_labels]
        curves = (
            [getattr(s, name) for s in spreads] for name in ("mean", "q10", "q90")
        )
        return cls(n_labels, *curves, score_name=METRICS[metric]).plot(ax)

    def plot(self, ax: Axes | None = None) -> ForecastDisplay:
        """Draw the curve and its band.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        self : ForecastDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = get_axes(ax, self)
        self.ax_, self.figure_ = ax, ax.figure
        set_count_scale(ax, self.n_labels)
        look = {"color": STYLES[0]["color"], "alpha": 0.18}
        if np.ptp(self.n_labels) == 0:  # a band would have no width
            ax.vlines(self.n_labels, self.low, self.high, linewidth=8, **look)
        else:
            ax.fill_between(self.n_labels, self.low, self.high, linewidth=0, **look)
        (self.line_,) = ax.plot(self.n_labels, self.mean, **STYLES[0])
        ax.set_xlabel("labels of the new task\nband: 80 % of tasks, 10 % to 90 %")
        ax.set_ylabel(f"{self.score_name}, mean over tasks")
        tidy(ax)
        set_x_ticks(ax, self.n_labels)
        return self
