"""What all displays share: axes, the check of an estimator, colours, ticks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from sklearn.utils.validation import check_is_fitted

from mtrl_sklearn._optional import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

# The palette of Okabe and Ito without its yellow, which is too pale for a line.
BLUE = "#0072B2"
VERMILLION = "#D55E00"
BLACK = "#000000"
GREEN = "#009E73"
PURPLE = "#CC79A7"
ORANGE = "#E69F00"
SKY = "#56B4E9"
GREY = "#767676"

# Purple and orange differ in hue for every kind of colour vision, and white is 0.
DIVERGING = "PuOr"


def require_matplotlib(caller: str) -> None:
    """Raise the ImportError that says how to get matplotlib."""
    require("matplotlib.pyplot", "plot", caller)


def get_axes(
    ax: "Axes | None",
    display: object,
    figsize: tuple[float, float] | None = None,
    layout: Literal["constrained", "compressed"] = "constrained",
) -> "Axes":
    """The caller's axes, or those of a new figure that leaves room for all text.

    The layout "compressed" is for axes whose scales have to be equal.
    """
    require_matplotlib(f"{type(display).__name__}.plot")
    import matplotlib.pyplot as plt

    if isinstance(ax, plt.Axes):
        return ax
    if ax is not None:
        raise TypeError(
            f"ax should be the Axes to draw on, or None, got {type(ax).__name__}. Of "
            "an array of Axes pass one: axes[0]."
        )
    return plt.subplots(figsize=figsize, layout=layout)[1]


def check_estimator(
    estimator: Any, name: str, example: str, attributes: Sequence[str]
) -> None:
    """Raise unless an estimator is a fitted network with what is plotted of it.

    Parameters
    ----------
    estimator : object
    name : str
        Of the argument.
    example : str
        Estimators that have the attributes, in words.
    attributes : sequence of str
        Fitted attributes that are read.

    Raises
    ------
    TypeError
        If it is no `Representation`, or lacks an attribute.
    NotFittedError
        If it is not fitted.
    """
    came = type(estimator).__name__
    if isinstance(estimator, type):
        came = f"the class {estimator.__name__}"
    # of the type: FrozenEstimator passes on what its estimator has
    is_network = hasattr(type(estimator), "source_probabilities")
    lacks = ""
    if is_network:
        check_is_fitted(estimator)
        missing = [a for a in attributes if not hasattr(estimator, a)]
        lacks = f", which lacks {' and '.join(missing)}" if missing else ""
    if lacks or not is_network:
        raise TypeError(
            f"{name} should be a {example}, or another network with "
            f"{' and '.join(attributes)}, got {came}{lacks}. Pass the fitted estimator "
            "itself: of a pipeline its step, such as pipeline[0], of a FrozenEstimator "
            "its .estimator, of a search its .best_estimator_."
        )


def check_count(value: Any, name: str, largest: float = np.inf) -> None:
    """Raise unless a value is an int from 1 to the largest."""
    if not isinstance(value, int | np.integer):
        raise TypeError(f"{name} should be an int, got {value!r}.")
    if not 1 <= value <= largest:
        bounds = "at least 1" if largest == np.inf else f"from 1 to {largest}"
        raise ValueError(f"{name} should be {bounds}, got {value}.")


def settle_layout(ax: "Axes") -> None:
    """Give axes and texts the places that they have when the figure is drawn."""
    assert ax.figure is not None
    ax.figure.canvas.figure.draw_without_rendering()


def tidy(ax: "Axes") -> None:
    """Horizontal grid lines behind the data, no frame above and to the right."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", alpha=0.3)
    ax.set_axisbelow(True)


def set_count_ticks(axis: "Axis", n: int) -> None:
    """Ticks for things counted from 1 to n: 1 and round numbers."""
    from matplotlib.ticker import MaxNLocator

    locator = MaxNLocator(7, steps=[1, 2, 5, 10], integer=True)
    ticks = np.asarray(locator.tick_values(0, n))
    axis.set_ticks([1, *ticks[(ticks > 1) & (ticks <= n)]])


def leave_out_offset(axis: "Axis") -> None:
    """Write out tick labels of a linear axis; those of any other stay as they are."""
    from matplotlib.ticker import ScalarFormatter

    labels = axis.get_major_formatter()
    if isinstance(labels, ScalarFormatter):
        labels.set_useOffset(False)


def set_count_scale(ax: "Axes", counts: np.ndarray) -> None:
    """Let an axis double from step to step; 0 has a place left of the first step.

    Parameters
    ----------
    ax : Axes
    counts : ndarray of shape (n_counts,)
        Ascending, at least 0.
    """
    if counts[0] > 0:
        ax.set_xscale("log", base=2)
        return
    first = counts[counts > 0].min(initial=np.inf)
    ax.set_xscale("symlog", base=2, linthresh=first if np.isfinite(first) else 1)


def set_x_ticks(ax: "Axes", positions: np.ndarray) -> None:
    """Ticks at given positions, and labels as far as they do not touch each other.

    Call it last: it measures labels in the final layout.
    """
    texts = np.array([f"{position:.12g}" for position in positions])
    ax.minorticks_off()
    ax.set_xticks(positions, texts)
    settle_layout(ax)
    end = -np.inf
    for k, label in enumerate(ax.get_xticklabels()):
        box = label.get_window_extent()
        if box.x0 > end:
            end = box.x1 + box.height / 2
        else:
            texts[k] = ""
    ax.set_xticks(positions, texts)
