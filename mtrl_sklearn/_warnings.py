"""Who called: warnings that point at the caller's line, and calls within others."""

import sys
import warnings
from types import FrameType

# Frames of these lie between a caller's line and ours: a warning passes over them.
BETWEEN = {"mtrl_sklearn", "sklearn", "skorch", "torch", "joblib"}

# A call of these may fit many estimators. Some modules only wrap methods of one.
FIT_MANY = {"mtrl_sklearn", "sklearn", "joblib"}
WRAPPERS = ("sklearn.base", "sklearn.utils._set_output")


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


def is_within_another_call() -> bool:
    """Whether the method that asks runs inside a call that may fit more than this.

    A search, a pipeline, or a function of this package: there Ctrl-C has to end the
    whole call, where a direct call of `fit` by the user can return what it has.
    """
    frame = sys._getframe(1).f_back
    while frame is not None:
        module = _module_of(frame)
        if module.partition(".")[0] in FIT_MANY and not module.startswith(WRAPPERS):
            return True
        frame = frame.f_back
    return False


def _is_between(frame: FrameType) -> bool:
    package = _module_of(frame).partition(".")[0]
    return package in BETWEEN or package in sys.stdlib_module_names


def _module_of(frame: FrameType) -> str:
    spec = frame.f_globals.get("__spec__")  # a module that is run is named __main__
    return frame.f_globals.get("__name__", "") if spec is None else spec.name
