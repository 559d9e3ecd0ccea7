"""How scores of new tasks grow with their labels, for several kinds of features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from mtrl_sklearn.plotting._common import (
    GREY,
    get_axes,
    require_matplotlib,
    set_count_scale,
    set_x_ticks,
    tidy,
)
from mtrl_sklearn.plotting._curves import (
    STYLES,
    check_curves,
    cycle_styles,
    draw_curves,
    name_curves,
    note_of_band,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

COLUMNS = ("task", "shots", "draw", "features", "score")

NO_LABELS = "no labels"

# Scorers with another name than that of scikit-learn.
METRICS = {"roc_auc": "ROC-AUC"}

# Features that every comparison has look the same in all pictures.
N_USUAL = 3
USUAL = {
    "representation": STYLES[0],
    "random": STYLES[1],
    "random ReLU features": STYLES[1],
    "raw": STYLES[2],
    "raw inputs": STYLES[2],
    NO_LABELS: {"color": GREY, "linestyle": "--"},
}

# What pictures call the features of probe_new_tasks.
NAMES = {"raw": "raw inputs", "random": "random features"}


class TransferCurveDisplay:
    """Mean score of new tasks against the number of their labels.

    One curve per kind of features, on an axis of labels that doubles from step to step.
    A curve is the mean over tasks, each of which is a mean over draws; its band goes
    from the 10 % to the 90 % quantile over tasks. What needs no labels is a dashed line
    without a band.

    Parameters
    ----------
    shots : array-like of shape (n_shots,)
        Numbers of labels of a new task, which may be 0.
    scores : dict of array-like of shape (n_shots,) or (n_shots, n_tasks)
        For each kind of features the score of each task. NaN where unknown.
    score_name : str, default="score"
        Name of the score, on the vertical axis.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D
        One per kind of features, in the order of ``scores``.

    Raises
    ------
    ValueError
        If shapes do not fit together or a number of labels is negative.

    See Also
    --------
    mtrl_sklearn.probing.probe_new_tasks : Makes the table for `from_table`.

    Examples
    --------
    >>> import pandas as pd
    >>> from mtrl_sklearn.plotting import TransferCurveDisplay
    >>> rows = [
    ...     (task, shots, draw, features, 1 - share / shots)
    ...     for task in ("a", "b")
    ...     for shots in (8, 16, 32)
    ...     for draw in range(2)
    ...     for features, share in (("representation", 2), ("raw", 3 + draw))
    ... ]
    >>> table = pd.DataFrame(
    ...     rows, columns=["task", "shots", "draw", "features", "score"]
    ... )
    >>> display = TransferCurveDisplay.from_table(table, score_name="accuracy")
    >>> display.scores["raw"]  # of task "a" and "b", mean over draws
    array([[0.5625  , 0.5625  ],
           [0.78125 , 0.78125 ],
           [0.890625, 0.890625]])
    """

    ax_: Axes
    figure_: Figure | SubFigure
    lines_: list[Line2D]

    def __init__(
        self,
        shots: ArrayLike,
        scores: Mapping[str, ArrayLike],
        *,
        score_name: str = "score",
    ):
        self.shots, self.scores = check_curves(shots, scores, "shots", "scores")
        if self.shots[0] < 0:
            raise ValueError(
                f"shots should be numbers of labels, of at least 0, got "
                f"{self.shots[0]:g}. Leave it out."
            )
        self.score_name = score_name

    @classmethod
    def from_table(
        cls,
        table: Any,
        *,
        metric: str | None = None,
        score_name: str | None = None,
        ax: Axes | None = None,
    ) -> TransferCurveDisplay:
        """Average a table of scores over draws, and plot it.

        Parameters
        ----------
        table : DataFrame
            One score per row, with the columns

            - "task", of any type;
            - "shots", the number of labels the score was reached with;
            - "draw", the number of the draw of those labels;
            - "features", such as "representation", "raw" and "random";
            - "metric", the name of the score, which may be left out;
            - "score", a float, NaN where it is undefined.
        metric : str, default=None
            The one to show, of a table with several.
        score_name : str, default=None
            Name of the score, on the vertical axis. None is that of the metric.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        display : TransferCurveDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If a column is missing, the table has no rows, or it has no such metric, or
            several and none is named.
        """
        require_matplotlib(f"{cls.__name__}.from_table")
        missing = [c for c in COLUMNS if c not in getattr(table, "columns", ())]
        if missing:
            raise ValueError(
                f"table lacks the columns {missing}. Pass the table of "
                f"probing.probe_new_tasks, or one with the columns {list(COLUMNS)}."
            )
        if len(table) == 0:
            raise ValueError("table has no rows. Pass at least one score.")
        metrics = np.full(len(table), "score")
        if "metric" in table.columns:
            metrics = np.asarray(table["metric"]).astype(str)
        shown = _choose_metric(metrics, metric)
        shots, row = np.unique(np.asarray(table["shots"]), return_inverse=True)
        tasks = np.asarray(table["task"]).astype(str)
        tasks, column = np.unique(tasks, return_inverse=True)
        features = np.asarray(table["features"]).astype(str)
        values = np.asarray(table["score"], dtype=np.float64)
        scores = {}
        for name in dict.fromkeys(features.tolist()):
            chosen = (features == name) & (metrics == shown) & ~np.isnan(values)
            cells = row[chosen], column[chosen]
            total, count = np.zeros((2, len(shots), len(tasks)))
            np.add.at(total, cells, values[chosen])
            np.add.at(count, cells, 1)
            unknown = np.full_like(total, np.nan)
            scores[name] = np.divide(total, count, out=unknown, where=count > 0)
        if score_name is None:
            score_name = METRICS.get(shown, shown.replace("_", " "))
        return cls(shots, scores, score_name=score_name).plot(ax)

    def plot(self, ax: Axes | None = None) -> TransferCurveDisplay:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        self : TransferCurveDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = get_axes(ax, self)
        others = iter(cycle_styles(N_USUAL + len(self.scores))[N_USUAL:])
        styles = [
            USUAL[name] if name in USUAL else next(others) for name in self.scores
        ]
        self.ax_, self.figure_ = ax, ax.figure
        set_count_scale(ax, self.shots)
        with_band = {n: s for n, s in self.scores.items() if n != NO_LABELS}
        curves = dict(self.scores)
        if NO_LABELS in curves:
            mean = np.ma.masked_invalid(curves[NO_LABELS]).mean(axis=1, keepdims=True)
            curves[NO_LABELS] = mean.filled(np.nan)
        self.lines_ = draw_curves(ax, self.shots, curves, styles, quantiles=(0.1, 0.9))
        for name, line in zip(self.scores, self.lines_):
            line.set_label(NAMES.get(name, name))
        note = note_of_band(with_band, "tasks", "10 % to 90 %")
        ax.set_xlabel("labels of the new task" + note)
        ax.set_ylabel(f"{self.score_name}, mean over tasks")
        tidy(ax)
        name_curves(ax, self.lines_)
        set_x_ticks(ax, self.shots)
        return self


def _choose_metric(metrics: np.ndarray, metric: str | None) -> str:
    """The metric to show, of those of a table's rows."""
    known = list(dict.fromkeys(metrics.tolist()))
    if metric is None and len(known) == 1:
        return known[0]
    if metric is None or metric not in known:
        raise ValueError(
            f"metric={metric!r} should be one of those in the table: {known}."
        )
    return metric
