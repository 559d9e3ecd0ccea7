"""Save estimators as numbers and text, and load them without executing anything.

`save` takes an estimator apart into its parameters and fitted attributes, and writes
these as safetensors with JSON in its header. `load` checks the file, makes an estimator
of the class that it names, out of a fixed table, and checks that it is whole.
"""

import os
from typing import Any

from sklearn.base import BaseEstimator

from mtrl_sklearn._files.arrays import Refusal, read_arrays, refusals, write_arrays
from mtrl_sklearn._files.values import Arrays, Stored
from mtrl_sklearn.persistence._estimators import describe, rebuild

KIND = "estimator"


def save(estimator: BaseEstimator, path: str | os.PathLike[str]) -> None:
    """Write an estimator to a file: its parameters and, if fitted, all it has learned.

    The file is written beside its place, brought to the disk and moved there as a
    whole: a crash or a full disk leaves the file that was there before. It holds
    safetensors with JSON in the header: class, parameters, versions, names, and a
    checksum.

    Parameters
    ----------
    estimator : MultiTaskReLURepresentation, ConvMultiTaskClassifier or LinearProbe
        Fitted or not. The representation of a probe is saved with it.
    path : path-like
        File to write, by custom with the suffix ".safetensors". One that is there is
        replaced; it keeps its permissions.

    Raises
    ------
    TypeError
        If it is another estimator, or a parameter holds an object that is neither
        number, text nor array, such as a callback.
    ValueError
        If a parameter is out of range, or fitted attributes were changed to something
        that fit does not make.
    OSError
        If the file cannot be written.

    See Also
    --------
    load : The way back.

    Notes
    -----
    What `set_fit_request` and its kin have set is not saved.

    Examples
    --------
    >>> import tempfile
    >>> import mtrl_sklearn
    >>> from mtrl_sklearn.datasets import make_subspace_tasks
    >>> X, Y, *_ = make_subspace_tasks(random_state=0)
    >>> representation = mtrl_sklearn.MultiTaskReLURepresentation(16, max_iter=1)
    >>> _ = representation.set_params(algorithm="one_step").fit(X, Y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     mtrl_sklearn.save(representation, f"{folder}/model.safetensors")
    ...     loaded = mtrl_sklearn.load(f"{folder}/model.safetensors")
    >>> bool((loaded.transform(X) == representation.transform(X)).all())
    True
    """
    arrays = Arrays()
    content = describe(estimator, arrays)
    write_arrays(path, arrays.by_name, content, KIND)


def load(path: str | os.PathLike[str]) -> Any:
    """Read an estimator that `save` wrote.

    Nothing in the file is executed, and a file that is damaged, of another origin or
    edited in a way that no estimator is like is refused as a whole: it needs all that
    fit gives, finite numbers, names and labels that agree, and the network of the state
    that training goes on from. The checksum finds accidents; it does not tell who wrote
    a file.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    MultiTaskReLURepresentation, ConvMultiTaskClassifier or LinearProbe
        With predictions, and further training, bit for bit like the saved one's (on
        the same machine, with the same versions of numpy and torch).

    Raises
    ------
    OSError
        If the file is not there or cannot be read.
    ValueError
        If it holds no whole estimator, or was written by a version of this package
        whose format this one does not know.

    See Also
    --------
    save : With an example.
    """
    arrays, content = read_arrays(path, KIND)
    stored = Stored(arrays)
    with refusals(path):
        try:
            estimator = rebuild(content, stored)
        except RecursionError:
            raise Refusal("holds values that are nested too deep") from None
        if stored.unused:
            name = min(stored.unused)
            raise Refusal(f"holds the array {name!r:.60}, to which nothing refers")
    return estimator
