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

# Features that every comparison has look the same in all pictures.
N_USUAL = 3
USUAL = {
    "representation": STYLES[0],
    "random": STYLES[1],
    "random ReLU features": STYLES[1],
    "raw": STYLES[2],
    "raw inputs": STYLES[2],
    "no labels": {"color": GREY, "linestyle": "--"},
}


class TransferCurveDisplay:
    """Mean score of new tasks against the number of their labels.

    One curve per kind of features, on an axis of labels that doubles from step to step.
    A curve is the mean over tasks and draws; its band goes from the lowest to the
    highest draw, each the mean over all tasks, so that it shows by how much the choice
    of labels moves the whole curve.

    Parameters
    ----------
    shots : array-like of shape (n_shots,)
        Numbers of labels of a new task, which may be 0.
    scores : dict of array-like of shape (n_shots,) or (n_shots, n_draws)
        For each kind of features the score, averaged over tasks. NaN where unknown.
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
    >>> display.scores["raw"]
    array([[0.625  , 0.5    ],
           [0.8125 , 0.75   ],
           [0.90625, 0.875  ]])
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
        cls, table: Any, *, score_name: str = "score", ax: Axes | None = None
    ) -> TransferCurveDisplay:
        """Average a table of scores over tasks, and plot it.

        Parameters
        ----------
        table : DataFrame
            One score per row, with the columns

            - "task", of any type;
            - "shots", the number of labels the score was reached with;
            - "draw", the number of the draw of those labels;
            - "features", such as "representation", "raw" and "random";
            - "score", a float, NaN where it is undefined.
        score_name : str, default="score"
            Name of the score, on the vertical axis.
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
            If a column is missing, or the table has no rows.
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
        shots, row = np.unique(np.asarray(table["shots"]), return_inverse=True)
        draws, column = np.unique(np.asarray(table["draw"]), return_inverse=True)
        features = np.asarray(table["features"]).astype(str)
        values = np.asarray(table["score"], dtype=np.float64)
        scores = {}
        for name in dict.fromkeys(features.tolist()):
            chosen = (features == name) & ~np.isnan(values)
            cells = row[chosen], column[chosen]
            total, count = np.zeros((2, len(shots), len(draws)))
            np.add.at(total, cells, values[chosen])
            np.add.at(count, cells, 1)
            unknown = np.full_like(total, np.nan)
            scores[name] = np.divide(total, count, out=unknown, where=count > 0)
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
        self.lines_ = draw_curves(ax, self.shots, self.scores, styles)
        ax.set_xlabel("labels of the new task" + note_of_band(self.scores, "draws"))
        ax.set_ylabel(f"{self.score_name}, mean over tasks")
        tidy(ax)
        name_curves(ax, self.lines_)
        set_x_ticks(ax, self.shots)
        return self
