"""Packages that come with an extra: imported when they are asked for, or told."""

import importlib
from types import ModuleType


def require(module: str, extra: str, caller: str) -> ModuleType:
    """Import a module of an optional package.

    Parameters
    ----------
    module : str
        Its name, such as "matplotlib.pyplot".
    extra : str
        The extra of this package that installs it.
    caller : str
        What needs it, as its user knows it.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If it cannot be imported. It says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{caller} requires {module.partition('.')[0]}. Install it with "
            f"`pip install 'mtrl-sklearn[{extra}]'`."
        ) from error
