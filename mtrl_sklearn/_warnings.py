"""Warnings that point at the caller's line, however deep they are raised."""

import sys
import warnings
from types import FrameType

# Frames of these lie between a caller's line and ours: a warning passes over them.
BETWEEN = {"mtrl_sklearn", "sklearn", "skorch", "torch", "joblib"}


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the nearest line that is not of this package, or of one that calls it.

    A Pipeline or a search calls `fit` from inside scikit-learn, a callback is called
    from inside skorch: the warning points at the line that called the outermost of
    them. In a worker process, where there is no such line, it points at the start of
    that process.

    Parameters
    ----------
    message : str
    category : type of warning, default=UserWarning
    """
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and _is_between(frame):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level + 1)


def _is_between(frame: FrameType) -> bool:
    spec = frame.f_globals.get("__spec__")  # a module that is run is named __main__
    name = frame.f_globals.get("__name__", "") if spec is None else spec.name
    package = name.partition(".")[0]
    return package in BETWEEN or package in sys.stdlib_module_names
