"""What a pipeline does to images before a network learns from them."""

import math

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from mtrl_sklearn._arrays.conversion import dense_remedy
from mtrl_sklearn._arrays.validation import naming_numbers, validate_rows

__all__ = ["ContrastNormalizer"]


class ContrastNormalizer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Give each image the mean 0 and the standard deviation 1.

    Both are taken over all values of the image, so that brightness and contrast, which
    differ between sources, tell nothing any more. A row does not depend on others, and
    nothing is learned. An image whose values are all the same becomes 0.

    Attributes
    ----------
    n_features_in_ : int
        Number of values of an image.
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Notes
    -----
    It helps where sources differ in contrast or light, and costs where these tell
    classes apart.

    Examples
    --------
    >>> import numpy as np
    >>> from mtrl_sklearn.preprocessing import ContrastNormalizer
    >>> X = np.random.default_rng(0).random((10, 3, 8, 8))
    >>> dim = ContrastNormalizer().fit_transform(X / 5 + 0.3)
    >>> dim.shape
    (10, 3, 8, 8)
    >>> bool(np.allclose(dim, ContrastNormalizer().fit_transform(X)))
    True
    """

    def fit(self, X, y=None):
        """Learn the number of values of an image, and nothing else.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), \
                (n_samples, height, width) or (n_samples, channels, height, width)
        y : object, default=None
            Ignored.

        Returns
        -------
        self : ContrastNormalizer

        Raises
        ------
        ValueError
            If X is not finite, or is no array of numbers.
        """
        self._read(X, reset=True)
        return self

    def transform(self, X):
        """Images of the same contrast.

        Parameters
        ----------
        X : array-like
            As in `fit`.

        Returns
        -------
        ndarray of the shape of X
            float32 or float64, as X; float32 for small integers, such as uint8 images.

        Raises
        ------
        ValueError
            If X is not finite, or images have another number of values than in `fit`.
        """
        check_is_fitted(self)
        rows, shape = self._read(X, reset=False)
        dtype = rows.dtype if rows.dtype.kind == "f" else np.float32
        exact = rows.astype(np.float64)
        largest = np.abs(exact).max(axis=1, initial=0, keepdims=True)
        exact /= np.where(largest > 0, largest, 1)  # so that no square overflows
        is_flat = np.ptp(exact, axis=1)[:, None] == 0
        exact -= exact.mean(axis=1, keepdims=True)
        exact /= np.where(is_flat, 1, exact.std(axis=1, keepdims=True))
        exact[is_flat[:, 0]] = 0
        return exact.astype(dtype).reshape(shape)

    def _read(self, X, reset):
        """Rows of images, and the shape in which they came."""
        rows, shape = X, ()
        if not (hasattr(X, "columns") or dense_remedy(X, "X")):
            with naming_numbers(X, "X") as given:
                array = np.asarray(given)
            shape = array.shape
            if len(shape) > 2:
                rows = array.reshape(shape[0], math.prod(shape[1:]))
        rows = validate_rows(self, rows, reset, empty=not reset)
        return rows, shape if len(shape) > 2 else rows.shape

    def __sklearn_is_fitted__(self):
        return hasattr(self, "n_features_in_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
