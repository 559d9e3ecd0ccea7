"""Which tasks are alike: a heat map in the order of a clustering."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform
from sklearn.utils import check_array

from mtrl_sklearn._arrays.validation import naming_numbers
from mtrl_sklearn._training.representation import Representation
from mtrl_sklearn.plotting._common import (
    check_estimator,
    get_axes,
    require_matplotlib,
    settle_layout,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.image import AxesImage

# Its lightness falls from one end to the other, so that print without colours and every
# kind of colour vision tell both ends apart.
COLORS = "cividis_r"
UNKNOWN = "#FFFFFF"
ROUNDING = 1e-6

LONGEST_NAME = 28  # characters; the middle of a longer one becomes an ellipsis
LARGEST_FONT, SMALLEST_FONT = 10.0, 6.0  # points
LINE_HEIGHT = 1.15  # of a name, in units of its font size
INCHES_PER_TASK = 0.13
USUAL_HEIGHT, LARGEST_HEIGHT = 4.8, 9.0  # of a figure, in inches


class TaskAffinityDisplay:
    """Heat map of the affinity of tasks, where similar tasks stand side by side.

    Rows and columns have the order of the leaves of a hierarchical clustering: average
    linkage of the distances 1 - affinity, with neighbouring leaves as similar as can
    be. Yellow is opposite, grey unrelated, blue alike; pairs of unknown affinity are
    white, and count as unrelated in the clustering. Names stand beside the rows as long
    as they can be read; with more tasks they are left out.

    Parameters
    ----------
    affinity : array-like of shape (n_tasks, n_tasks)
        Symmetric, from -1 to 1, with ones on its diagonal. NaN where unknown.
    task_names : sequence of length n_tasks, default=None
        Names of the tasks. None counts them from 0.

    Attributes
    ----------
    order_ : ndarray of shape (n_tasks,), int
        Tasks from top to bottom.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    image_ : matplotlib AxesImage

    Raises
    ------
    ValueError
        If ``affinity`` is not such an array, or numbers of tasks differ.

    See Also
    --------
    mtrl_sklearn.probing.task_affinity : The affinity of the tasks of a representation.

    Examples
    --------
    >>> from mtrl_sklearn.plotting import TaskAffinityDisplay
    >>> affinity = [[1, -0.8, 0.9], [-0.8, 1, -0.7], [0.9, -0.7, 1]]
    >>> display = TaskAffinityDisplay.from_predictions(
    ...     affinity, task_names=["warm", "cold", "hot"]
    ... )
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['cold', 'hot', 'warm']
    """

    order_: np.ndarray
    ax_: Axes
    figure_: Figure | SubFigure
    image_: AxesImage

    def __init__(
        self, affinity: ArrayLike, *, task_names: Sequence[object] | None = None
    ):
        self.affinity = _check_affinity(affinity)
        names = range(len(self.affinity)) if task_names is None else task_names
        if not isinstance(names, Sized) or isinstance(names, str):
            raise TypeError(
                "task_names should be a sequence of names, got "
                f"{type(names).__name__}. Pass one name per task."
            )
        if len(names) != len(self.affinity):
            raise ValueError(
                f"task_names has {len(names)} entries, affinity {len(self.affinity)} "
                "tasks. Pass one name per task."
            )
        self.task_names = [str(name) for name in names]

    @classmethod
    def from_predictions(
        cls,
        affinity: ArrayLike,
        *,
        task_names: Sequence[object] | None = None,
        ax: Axes | None = None,
    ) -> TaskAffinityDisplay:
        """Plot affinities.

        Parameters
        ----------
        affinity, task_names
            As for the class.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        display : TaskAffinityDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            As for the class.
        """
        require_matplotlib(f"{cls.__name__}.from_predictions")
        return cls(affinity, task_names=task_names).plot(ax)

    @classmethod
    def from_estimator(
        cls,
        representation: Representation,
        *,
        ax: Axes | None = None,
    ) -> TaskAffinityDisplay:
        """Plot the affinities of the tasks of a fitted representation.

        Parameters
        ----------
        representation : MultiTaskReLURepresentation
            Fitted; or another `Representation` with ``task_names_``.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        display : TaskAffinityDisplay

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
        attributes = ("task_names_", "task_covariance")
        example = "MultiTaskReLURepresentation"
        check_estimator(representation, "representation", example, attributes)
        from mtrl_sklearn.probing import task_affinity

        affinity = task_affinity(representation)
        names = list(getattr(representation, attributes[0]))
        return cls(affinity, task_names=names).plot(ax)

    def plot(self, ax: Axes | None = None) -> TaskAffinityDisplay:
        """Draw the heat map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        self : TaskAffinityDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        n_tasks = len(self.affinity)
        height = np.clip(1 + INCHES_PER_TASK * n_tasks, USUAL_HEIGHT, LARGEST_HEIGHT)
        if n_tasks * SMALLEST_FONT * LINE_HEIGHT > 72 * (LARGEST_HEIGHT - 1):
            height = USUAL_HEIGHT  # names would not be readable at any size
        ax = get_axes(ax, self, figsize=(1.25 * height, height), layout="compressed")
        import matplotlib as mpl

        self.ax_, self.figure_ = ax, ax.figure
        self.order_ = order_by_clustering(self.affinity)
        colors = mpl.colormaps[COLORS].with_extremes(bad=UNKNOWN)
        ordered = self.affinity[np.ix_(self.order_, self.order_)]
        self.image_ = ax.imshow(
            np.ma.masked_invalid(ordered), cmap=colors, vmin=-1, vmax=1
        )
        unknown = np.isnan(ordered).any()
        ax.figure.colorbar(
            self.image_,
            ax=ax,
            shrink=0.8,
            label="affinity: 1 alike, 0 unrelated, -1 opposite"
            + ("\nwhite: unknown" if unknown else ""),
        )
        ax.set_xticks([])
        ax.set_xlabel("tasks, in the same order")
        self._write_names(ax)
        return self

    def _write_names(self, ax: Axes) -> None:
        """Names beside the rows, in letters as small as need be, or none at all."""
        names = _shorten([self.task_names[task] for task in self.order_])
        ax.set_yticks(range(len(names)), names, size=SMALLEST_FONT)
        size = min(LARGEST_FONT, _row_height(ax) / LINE_HEIGHT)
        if size >= SMALLEST_FONT:
            # Larger letters leave less room for the rows.
            ax.tick_params(axis="y", labelsize=size, length=0)
            size = min(size, _row_height(ax) / LINE_HEIGHT)
        if size >= SMALLEST_FONT:
            ax.tick_params(axis="y", labelsize=size)
        else:
            ax.set_yticks([])
            ax.set_ylabel(f"{len(names)} tasks, by similarity")


def order_by_clustering(affinity: np.ndarray) -> np.ndarray:
    """Tasks in the order of the leaves of a clustering, int of shape (n_tasks,)."""
    if len(affinity) < 3:
        return np.arange(len(affinity))
    distances = 1 - np.nan_to_num(affinity, nan=0.0)
    condensed = squareform(distances, checks=False).clip(min=0)
    return leaves_list(linkage(condensed, "average", optimal_ordering=True))


def _check_affinity(affinity: ArrayLike) -> np.ndarray:
    with naming_numbers(affinity, "affinity") as given:
        table: np.ndarray = check_array(
            given,
            dtype=np.float64,
            ensure_all_finite="allow-nan",
            input_name="affinity",
        )
    if table.shape[0] != table.shape[1]:
        raise ValueError(
            f"affinity should have shape (n_tasks, n_tasks), got {table.shape}. Pass "
            "the affinity of each pair of tasks."
        )
    if not np.allclose(table, table.T, atol=ROUNDING, equal_nan=True):
        raise ValueError(
            "affinity should be symmetric. Pass the mean of both directions: "
            "(affinity + affinity.T) / 2."
        )
    if (np.abs(table) > 1 + ROUNDING).any() or (
        np.abs(np.diag(table) - 1) > ROUNDING
    ).any():
        raise ValueError(
            "affinity should be from -1 to 1 with ones on its diagonal, got values "
            f"from {np.nanmin(table):g} to {np.nanmax(table):g}. Scale it, as a "
            "covariance is scaled to a correlation."
        )
    return table


def _row_height(ax: Axes) -> float:
    """Points between two rows of an image in the final layout."""
    settle_layout(ax)
    assert ax.figure is not None
    (_, first), (_, second) = ax.transData.transform([(0, 0), (0, 1)])
    return abs(second - first) * 72 / ax.figure.dpi


def _shorten(names: list[str]) -> list[str]:
    """Long names without their middle, or without the start that they share.

    Names of related tasks often differ at the end, so both ends stay; those that would
    then read alike begin where they differ.
    """
    end = (LONGEST_NAME - 1) // 2
    start = LONGEST_NAME - 1 - end
    groups: dict[str, list[str]] = {}
    for name in names:
        is_short = len(name) <= LONGEST_NAME
        cut = name if is_short else f"{name[:start]}…{name[-end:]}"
        groups.setdefault(cut, []).append(name)
    shown = {}
    for cut, group in groups.items():
        differ = (k for k, letters in enumerate(zip(*group)) if len(set(letters)) > 1)
        shared = next(differ, min(map(len, group)))
        for name in group:
            rest = name[shared:][: LONGEST_NAME - 1].strip()
            shown[name] = f"…{rest}" if rest else cut
    return [shown[name] for name in names]
