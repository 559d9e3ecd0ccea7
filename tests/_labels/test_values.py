"""Values of labels: two among many, their signs, and classes of scores."""

import numpy as np
import pytest

from mtrl_sklearn._labels import signs as _signs
from mtrl_sklearn._labels.values import (
    choose_classes,
    compare_values,
    find_two_values,
    sign_members,
)

NAN = np.nan


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([[1.5, NAN], [0.5, 1.5]], [0.5, 1.5]),
        ([[NAN, NAN], [NAN, 2]], [2]),
        ([[NAN, NAN]], []),
        ([0, 1, 0, 2], None),
        ([0, 0, np.inf], None),
        ([0, -np.inf], None),
        ([True, False, True], [False, True]),
        (["b", "a", "b"], ["a", "b"]),
        (["b", "a", "ab"], None),
        (np.array([3, 250], dtype=np.uint8), [3, 250]),
        (np.array([[7.0], [-7.0]], dtype=">f4"), [-7, 7]),
    ],
)
@pytest.mark.parametrize("block_bytes", [1, 2**20])
def test_two_values_are_found_in_blocks(values, found, block_bytes, monkeypatch):
    monkeypatch.setattr(_signs, "BLOCK_BYTES", block_bytes)
    got = find_two_values(np.asarray(values))
    if found is None:
        assert got is None
        return
    assert got.dtype == np.asarray(values).dtype
    assert got.tolist() == found
    if len(found) == 2:
        signs = compare_values(np.asarray(values), *got)
        assert signs.dtype == np.int8
        expected = np.where(np.asarray(values) == got[1], 1, -1)
        expected[np.asarray(values) != np.asarray(values)] = 0
        np.testing.assert_array_equal(signs, expected)


@pytest.mark.parametrize("values", [[0, 1, 2], [1, NAN, np.inf], [[0.5]]])
def test_values_that_are_neither_have_no_sign(values):
    assert compare_values(np.array(values), 0, 1) is None


def test_members_of_no_class_have_no_sign_unless_there_are_many_classes():
    nobody = np.zeros((2, 3), dtype=bool)
    assert sign_members(nobody).tolist() == [[-1] * 3] * 2
    for k in range(3):
        assert sign_members(nobody[:, :k]).tolist() == [[0], [0]]


def test_scores_choose_among_classes_of_any_number():
    classes = [
        np.array(["no", "yes"]),
        np.array(["a", "b", "c"]),
        np.array(["only"]),
        np.array(["x", "y"]),
    ]
    scores = np.array([[1, -1, 3, 2, 5, -1], [-1, 0, -2, -1, -5, 1]])
    expected = [["yes", "b", "only", "x"], ["no", "a", "only", "y"]]
    assert choose_classes(scores, classes).tolist() == expected
    numbers = [np.array([0, 1]), np.empty(0)]
    np.testing.assert_array_equal(
        choose_classes(scores[:, :2], numbers), [[1, NAN], [0, NAN]]
    )
