"""Images that are changed at random while a network learns from them."""

import numpy as np
import pytest
import torch
from conv_cases import (
    assert_same_network,
    assert_untouched,
    fitted,
    images_of_bars,
    make,
)

from mtrl_sklearn._conv.augmentation import augment_images, read_augment
from mtrl_sklearn._conv.options import AUGMENTED_TIMES
from mtrl_sklearn._training import checkpoint as _checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
BOTH = ("flip", "shift")
SHAPE = (2, 16, 8)  # shifts by up to 2 and 1


def draw(X, names, seed=0, places=slice(None), n_rows=None):
    generator = torch.Generator().manual_seed(seed)
    n_rows = n_rows or len(X)
    flat = torch.from_numpy(X).flatten(1)
    found = augment_images(flat, names, SHAPE, generator, n_rows, places)
    return found.view(-1, *SHAPE).numpy()


@pytest.mark.parametrize("names", [("flip",), ("shift",), BOTH])
def test_images_are_flips_and_shifts_of_what_they_were(names):
    X = np.random.default_rng(0).random((400, *SHAPE))
    down, right = (2, 1) if "shift" in names else (0, 0)
    padded = np.pad(X, [(0, 0), (0, 0), (down, down), (right, right)], mode="edge")
    possible = [
        padded[:, :, k : k + SHAPE[1], m : m + SHAPE[2]]
        for k in range(2 * down + 1)
        for m in range(2 * right + 1)
    ]
    if "flip" in names:
        possible += [image[..., ::-1] for image in possible]
    changed = draw(X, names)
    hits = np.array([(changed == p).all(axis=(1, 2, 3)) for p in possible])
    assert (hits.sum(axis=0) == 1).all()
    shares = hits.mean(axis=1) * len(possible)
    # each is as likely: six standard errors of a share of the 400
    assert np.abs(shares - 1).max() < 6 * np.sqrt(len(possible) / 400)


def test_ranks_draw_what_one_process_draws():
    X = np.random.default_rng(0).random((30, *SHAPE))
    whole, places = draw(X, BOTH), torch.tensor([2, 3, 11, 29])
    part = draw(X[places.numpy()], BOTH, places=places, n_rows=30)
    np.testing.assert_array_equal(part, whole[places.numpy()])


def test_each_epoch_draws_anew_and_a_seed_repeats_it():
    X, y, _ = images_of_bars()
    settings = {"augment": BOTH, "batch_size": 30}
    model = make(**settings).fit(X, y)
    assert_same_network(model, make(**settings).fit(X, y))
    assert_same_network(
        make(augment="flip").fit(X, y), make(augment=["flip"]).fit(X, y)
    )
    others = [make(augment=a, batch_size=30).fit(X, y) for a in (None, "flip")]
    assert all(not np.array_equal(o.filters_, model.filters_) for o in others)
    one = make(augment=BOTH, max_iter=1, learning_rate=1e-9, warm_start=True, tol=0)
    losses = [one.fit(X, y).loss_curve_[-1] for _ in range(3)]
    assert len(set(losses)) == 3  # of the same network, but for 1e-9


def test_a_fit_that_was_killed_ends_with_the_same_images(tmp_path, monkeypatch):
    X, y, _ = images_of_bars()
    monkeypatch.setattr(_checkpoint, "SHARE_OF_WRITING", 1)
    path = tmp_path / "fit"
    settings = {"augment": BOTH, "batch_size": 30, "max_iter": 6}
    whole = make(**settings).fit(X, y)
    save = _checkpoint.Checkpoint.save

    def save_and_die(self, get_state, losses, *rest):
        save(self, get_state, losses, *rest)
        if len(losses) == 3:
            raise RuntimeError("killed")

    monkeypatch.setattr(_checkpoint.Checkpoint, "save", save_and_die)
    with pytest.raises(RuntimeError, match="killed"):
        make(checkpoint=path, **settings).fit(X, y)
    monkeypatch.setattr(_checkpoint.Checkpoint, "save", save)
    resumed = make(checkpoint=path, **settings).fit(X, y)
    assert_same_network(resumed, whole)
    with pytest.raises(ValueError, match="differs from this one in augment"):
        make(checkpoint=path, **{**settings, "augment": "flip"}).fit(X, y)


def test_automatic_epochs_are_more():
    X, y, _ = images_of_bars()
    plain, augmented = (
        make(n_filters=2, max_iter="auto", n_iter_no_change=999, augment=a).fit(X, y)
        for a in (None, "flip")
    )
    assert augmented.n_iter_ == AUGMENTED_TIMES * plain.n_iter_


def test_what_cannot_be_augmented_is_refused():
    X, y, _ = images_of_bars()
    model = make(solver="adam").fit(X, y)
    before = fitted(model)
    cases = [
        ({"augment": ("flip", "turn")}, X, "augment=.*'turn'.*'flip', 'shift'"),
        ({"augment": "turn"}, X, "augment"),
        ({"augment": 3}, X, "augment"),
        ({"augment": "flip"}, X.reshape(90, -1), r"\(144,\).*input_shape=\(channels"),
        ({"augment": "flip", "solver": "gd"}, X, r"solver='gd'.*solver='adam'"),
    ]
    for parameters, rows, words in cases:
        model.set_params(augment=None, solver="adam").set_params(**parameters)
        with pytest.raises(ValueError, match=words):
            model.fit(rows, y)
        assert_untouched(model, before)


def test_names_come_in_one_order():
    assert read_augment(["shift", "flip"], SHAPE, "auto") == BOTH
    assert read_augment(None, (5,), "gd") == ()
