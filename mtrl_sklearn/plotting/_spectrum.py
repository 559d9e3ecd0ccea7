"""Singular values of a first layer and the rank that was chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from mtrl_sklearn._arrays.validation import naming_numbers
from mtrl_sklearn._training.representation import Representation
from mtrl_sklearn.plotting._common import (
    BLUE,
    GREY,
    check_count,
    check_estimator,
    get_axes,
    require_matplotlib,
    set_count_ticks,
    tidy,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

# Values below this share of the largest would only stretch a logarithmic axis.
NEGLIGIBLE = 1e-4


class SpectrumDisplay:
    """Singular values of the first layer, with the rank that was kept.

    The axis is logarithmic, because the rank rule of
    `mtrl_sklearn.MultiTaskReLURepresentation` looks for a drop by a factor: an edge is
    a step in this picture. The axis ends at 1e-4 of the largest value.

    Parameters
    ----------
    singular_values : array-like of shape (n_values,)
        Not negative, descending.
    n_components : int
        Number of values that were kept; n_values where no rank was chosen.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    kept_, dropped_ : matplotlib Line2D
        The values that were kept and the others.

    Raises
    ------
    ValueError
        If values are not descending and positive, or ``n_components`` is out of range.

    Examples
    --------
    >>> from mtrl_sklearn import MultiTaskReLURepresentation
    >>> from mtrl_sklearn.datasets import make_subspace_tasks
    >>> from mtrl_sklearn.plotting import SpectrumDisplay
    >>> X, Y, *_ = make_subspace_tasks(random_state=0)
    >>> representation = MultiTaskReLURepresentation(
    ...     128, algorithm="one_step", random_state=0
    ... ).fit(X, Y)
    >>> SpectrumDisplay.from_estimator(representation).n_components
    4
    """

    ax_: Axes
    figure_: Figure | SubFigure
    kept_: Line2D
    dropped_: Line2D

    def __init__(self, singular_values: ArrayLike, n_components: int):
        with naming_numbers(singular_values, "singular_values") as given:
            values = check_array(
                given,
                dtype=np.float64,
                ensure_2d=False,
                input_name="singular_values",
            )
        if values.ndim != 1 or values[0] <= 0 or (np.diff(values) > 0).any():
            raise ValueError(
                "singular_values should be one row of descending numbers, the first "
                f"above 0, got shape {values.shape} and {values.ravel()[:3]}. Sort "
                "them: np.sort(values)[::-1]."
            )
        self.singular_values = values
        check_count(n_components, "n_components", len(values))
        self.n_components = n_components

    @classmethod
    def from_estimator(
        cls,
        representation: Representation,
        *,
        ax: Axes | None = None,
    ) -> SpectrumDisplay:
        """Plot the spectrum of a fitted representation.

        Parameters
        ----------
        representation : MultiTaskReLURepresentation
            Fitted; or another `Representation` with ``singular_values_`` and
            ``n_components_``.
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        display : SpectrumDisplay

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
        attributes = ("singular_values_", "n_components_")
        example = "MultiTaskReLURepresentation"
        check_estimator(representation, "representation", example, attributes)
        values, rank = (getattr(representation, name) for name in attributes)
        return cls(values, rank).plot(ax)

    def plot(self, ax: Axes | None = None) -> SpectrumDisplay:
        """Draw the spectrum.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. None makes a figure.

        Returns
        -------
        self : SpectrumDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = get_axes(ax, self)
        from matplotlib.ticker import (
            LogLocator,
            NullFormatter,
            StrMethodFormatter,
        )

        self.ax_, self.figure_ = ax, ax.figure
        values, rank = self.singular_values, self.n_components
        place = np.arange(1, len(values) + 1)
        size = float(np.clip(250 / len(values), 2, 6))
        (self.kept_,) = ax.plot(
            place[:rank], values[:rank], "o", color=BLUE, markersize=size
        )
        (self.dropped_,) = ax.plot(
            place[rank:],
            values[rank:],
            "s",
            color=GREY,
            markerfacecolor="none",
            markersize=size,
        )
        shown = values[values >= NEGLIGIBLE * values[0]]
        ax.set_yscale("log")
        ax.set_ylim(shown[-1] / 1.3, values[0] * 1.3)
        few_decades = values[0] < 1000 * shown[-1]
        steps = (1.0, 2.0, 5.0) if few_decades else (1.0,)
        ax.yaxis.set_major_locator(LogLocator(subs=steps))
        ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
        set_count_ticks(ax.xaxis, len(values))
        ax.set_xlim(1 - 0.04 * len(values), 1.04 * len(values))
        ax.set_xlabel("index of the singular value")
        ax.set_ylabel("singular value of the first layer")
        tidy(ax)
        self._mark_rank(ax)
        return self

    def _mark_rank(self, ax: Axes) -> None:
        """Say what was kept, where a falling curve leaves room for words."""
        rank, n_values = self.n_components, len(self.singular_values)
        if rank == n_values:
            text = f"no rank chosen: all {n_values} are kept"
            ax.annotate(text, (0.03, 0.04), xycoords="axes fraction")
            return
        ax.axvline(rank + 0.5, color="black", linewidth=1, linestyle="--")
        above = rank < n_values / 2
        ax.annotate(
            f"rank {rank} is kept",
            (rank + 0.5, 0.96 if above else 0.04),
            (6 if above else -6, 0),
            xycoords=ax.get_xaxis_transform(),
            textcoords="offset points",
            ha="left" if above else "right",
            va="top" if above else "bottom",
        )
