"""Saved estimators come back bit for bit; no file runs code or comes back in part."""

import os
import pickle
import re
import signal
import subprocess
import sys
import time
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skops.io
from conv_cases import HEADS, SOLVERS, images_of_bars, rows_of_patches
from conv_cases import make as make_conv
from relu_cases import ALGORITHMS, quick, subspace_rows, to_long
from relu_cases import make as make_relu
from saved_cases import (
    assert_identical,
    places,
    put_together,
    replaced,
    take_apart,
)
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback, EpochScoring

from mtrl_sklearn import (
    MultiTaskReLURepresentation,
    load,
    save,
)
from mtrl_sklearn.probing import LinearProbe, ProbePrior, ProbeSettings
from mtrl_sklearn.probing._forecast import Reached

pytestmark = quick

X, Y = subspace_rows()
X_LONG, Y_LONG, TASKS = to_long(X, Y)
WORDS = np.array(["ape", "bat", "cat"])[(X[:, 0] > 0).astype(int) + (X[:, 1] > 1)]
PATCHES, PATCH_LABELS, SOURCES = rows_of_patches()
BARS, BAR_LABELS, BAR_TASKS = images_of_bars()
NEW = (X[:, 0] > 0).astype(int)
SETTINGS = ProbeSettings((16, 64), ((0.2, 0.8, 0.0), (0.6, 0.2, 0.2)), (1, 4.5))
PRIOR = ProbePrior(-2.0, 0.8, 0.7, 0.2, centre=0.1, scale=0.05)
REACHED = Reached((0, 16), *[((0.5, 0.75), (0.625, 0.875, 1.0))] * 3)


def frame(array, prefix):
    return pd.DataFrame(array).add_prefix(prefix)


def relu(*data, tasks=None, **parameters):
    return make_relu(**parameters).fit(*data, tasks=tasks)


def conv(*data, tasks=None, **parameters):
    return make_conv(**parameters).fit(*data, tasks=tasks)


def stream():
    generator = np.random.RandomState(3)
    generator.standard_normal(5)  # an odd number leaves one in store
    return generator


REPRESENTATIONS = {
    "unfitted": lambda: make_relu(n_components=2, dropout=np.float32(0.25)),
    "rank": lambda: relu(X, Y, n_components=2),
    "float32": lambda: relu(X.astype("f4"), Y, early_stopping=True),
    "frames": lambda: relu(frame(X, "x"), frame(Y, "\u00e4")),
    "sparse": lambda: relu(csr_array(X), Y),
    "long": lambda: relu(X_LONG, Y_LONG, tasks=TASKS),
    "numbered": lambda: relu(
        X_LONG, Y_LONG > 0, tasks=np.unique(TASKS, False, True)[1]
    ),
    "words": lambda: relu(X, WORDS),
    "classes": lambda: relu(X, np.column_stack([WORDS, np.where(NEW, "x", "a name")])),
    "one task": lambda: relu(X, NEW, output="scores"),
    "positive": lambda: relu(X, Y, pos_label={"task1": 0, "task0": 1.0}),
    "stream": lambda: relu(X, Y, random_state=stream()),
    "partial": lambda: make_relu().partial_fit(X, Y).partial_fit(X, Y),
    "frames out": lambda: make_relu().set_output(transform="pandas").fit(X, Y),
    **{name: lambda name=name: relu(X, Y, algorithm=name) for name in ALGORITHMS},
}
CLASSIFIERS = {
    "unfitted": lambda: make_conv(input_shape=[3, 4], class_weight={"a": np.inf}),
    "weights": lambda: conv(PATCHES, PATCH_LABELS, class_weight={-1: 2, 1: 0.5}),
    "words": lambda: conv(PATCHES, np.where(PATCH_LABELS > 0, "yes", "no")),
    "booleans": lambda: conv(PATCHES, PATCH_LABELS > 0),
    "images": lambda: conv(BARS, BAR_LABELS, kernel_size=(3, 2), pooling=(2, 1)),
    "columns": lambda: conv(
        frame(BARS.reshape(90, -1), "p"), BAR_LABELS, input_shape=(2, 9, 8)
    ),
    "stopped": lambda: conv(BARS, BAR_LABELS, early_stopping=True, power=2),
    **{
        f"{head} {solver}": lambda head=head, solver=solver: conv(
            PATCHES, PATCH_LABELS, tasks=SOURCES, head=head, solver=solver
        )
        for head in HEADS
        for solver in SOLVERS
    },
    **{
        f"{head} images": lambda head=head: conv(
            BARS, BAR_LABELS, tasks=BAR_TASKS, head=head
        )
        for head in HEADS
    },
}
PROBES = {
    "unfitted": lambda: LinearProbe(make_relu(), weights={"hidden": 1}, C=3),
    "raw": lambda: LinearProbe().fit(frame(X, "x"), WORDS),
    "settings": lambda: LinearProbe(relu(X, Y), settings=SETTINGS).fit(X, NEW),
    "forecast": lambda: LinearProbe(
        relu(X, Y), settings=replace(SETTINGS, prior=PRIOR, reached=REACHED)
    ).fit(X, NEW),
    "frozen": lambda: LinearProbe(FrozenEstimator(relu(X, Y))).fit(X, WORDS),
    "tuned": lambda: LinearProbe(relu(X, Y), fine_tune=True).fit(X, NEW),
    "tuned images": lambda: LinearProbe(
        conv(BARS, BAR_LABELS), fine_tune=True, weights={"hidden": 1}
    ).fit(BARS, BAR_LABELS),
}
ESTIMATORS = {
    f"{kind}: {name}": estimator
    for kind, estimators in (
        ("relu", REPRESENTATIONS),
        ("conv", CLASSIFIERS),
        ("probe", PROBES),
    )
    for name, estimator in estimators.items()
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimator_comes_back_bit_for_bit(path, name):
    estimator = ESTIMATORS[name]()
    save(estimator, path)
    loaded = load(path)
    assert_identical(loaded, estimator)
    if "unfitted" in name:
        assert_identical(loaded.get_params(), estimator.get_params())
        return
    check_is_fitted(loaded)
    inputs = PATCHES
    if estimator.n_features_in_ == X.shape[1]:
        inputs = X
    elif loaded.n_features_in_ != PATCHES[0].size:
        inputs = BARS
    if hasattr(loaded, "feature_names_in_"):
        inputs = pd.DataFrame(
            inputs.reshape(len(inputs), -1), columns=loaded.feature_names_in_
        )
    rest = {}
    if name.startswith("conv: per_task"):
        rest["tasks"] = SOURCES if inputs is PATCHES else BAR_TASKS
    assert_identical(
        loaded.predict_proba(inputs, **rest), estimator.predict_proba(inputs, **rest)
    )
    assert_identical(loaded.predict(inputs, **rest), estimator.predict(inputs, **rest))
    if hasattr(loaded, "transform"):
        first, second = loaded.transform(inputs), estimator.transform(inputs)
        assert_identical(np.asarray(first), np.asarray(second))
        assert type(first) is type(second)


@pytest.mark.parametrize("how", ["partial_fit", "warm_start"])
@pytest.mark.parametrize(
    ("make", "data"),
    [
        *[
            (lambda name=name: make_relu(algorithm=name, n_components=2), (X, Y))
            for name in ALGORITHMS
        ],
        *[
            (lambda name=name: make_conv(solver=name), (PATCHES, PATCH_LABELS))
            for name in SOLVERS
        ],
    ],
    ids=[*ALGORITHMS, *SOLVERS],
)
def test_training_goes_on_as_if_never_saved(path, make, data, how):
    estimator = make().set_params(warm_start=how == "warm_start")
    go_on = "fit" if how == "warm_start" else how
    getattr(estimator, go_on)(*data)
    save(estimator, path)
    loaded = load(path)
    for found in (loaded, estimator):
        getattr(found, go_on)(*data)
    assert_identical(loaded, estimator)


def test_a_random_stream_goes_on_where_it_was(path):
    estimator = make_relu(random_state=stream())
    save(estimator, path)
    draws = [e.random_state.standard_normal(700) for e in (estimator, load(path))]
    np.testing.assert_array_equal(*draws)


def test_arrays_that_were_shared_stay_shared(path):
    estimator = relu(X_LONG, Y_LONG, tasks=TASKS)
    assert len({id(found) for found in estimator.classes_}) == 1
    save(estimator, path)
    assert len({id(found) for found in load(path).classes_}) == 1


def test_the_file_can_be_read_by_people(path):
    save(relu(frame(X, "x"), frame(Y, "assay")), path)
    _, about, _ = take_apart(path.read_bytes())
    content = about["content"]
    assert content["class"] == "MultiTaskReLURepresentation"
    assert content["parameters"]["n_hidden"] == 16
    assert content["parameters"]["learning_rate"] == 1e-3
    assert content["fitted"]["feature_names_in_"]["objects"][:2] == ["x0", "x1"]
    assert content["fitted"]["task_names_"] == {"text": [f"assay{k}" for k in range(6)]}


def test_output_is_set_as_it_was_and_the_rest_is_left_out(path):
    estimator = make_relu().set_output(transform="polars")
    with config_context(enable_metadata_routing=True):
        estimator.set_fit_request(tasks=True)
    save(estimator, path)
    loaded = load(path)
    assert loaded._sklearn_output_config == {"transform": "polars"}
    assert vars(loaded).keys() == {*loaded.get_params(), "_sklearn_output_config"}


def test_paths_are_saved_as_text(path):
    save(make_relu(checkpoint=path.parent / "x"), path)
    assert load(path).checkpoint == str(path.parent / "x")


class Plugin(MultiTaskReLURepresentation):
    pass


Namesake = type("MultiTaskReLURepresentation", (MultiTaskReLURepresentation,), {})


def other_stream():
    return np.random.RandomState(np.random.PCG64())


def with_attribute(name, value):
    estimator = relu(X, Y)
    setattr(estimator, name, value)
    return estimator


TEXT = r"set_params\(callbacks=None\)"
UNSAVEABLE = [
    (lambda: make_relu(callbacks=[EpochScoring("f1")]), TypeError, TEXT),
    (lambda: make_relu(callbacks=[print]), TypeError, TEXT),
    (lambda: LogisticRegression(), TypeError, "got LogisticRegression of.*skops"),
    (lambda: make_pipeline(make_relu()), TypeError, "got Pipeline of.*skops"),
    (lambda: LinearProbe(make_pipeline(make_relu())), TypeError, "Pipeline.*skops"),
    (lambda: LinearProbe(FrozenEstimator(StandardScaler())), TypeError, "skops"),
    (lambda: Plugin(), TypeError, "got Plugin"),
    (lambda: Namesake(), TypeError, "got MultiTaskReLURepresentation of"),
    (lambda: MultiTaskReLURepresentation, TypeError, "got the class MultiTask"),
    (lambda: make_relu(n_hidden=-1), ValueError, "n_hidden"),
    (lambda: make_relu(random_state=other_stream()), TypeError, "RandomState on PCG64"),
    (lambda: with_attribute("note_", 1), ValueError, "holds 'note_'.*Fit it again"),
    (lambda: with_attribute("task_coef_", [1]), ValueError, "task_coef_"),
    (lambda: with_attribute("loss_curve_", np.ones(9)), ValueError, "loss_curve_"),
    (
        lambda: with_attribute("hidden_biases_", np.ones(16, dtype="f4")),
        ValueError,
        "no proper task_coef_|no proper hidden_",
    ),
]


@pytest.mark.parametrize(("make", "error", "match"), UNSAVEABLE)
def test_what_cannot_be_saved_is_told_and_writes_nothing(path, make, error, match):
    estimator = make()
    with pytest.raises(error, match=match):
        save(estimator, path)
    assert os.listdir(path.parent) == []


# ---- files that are not to be trusted


class Bomb:
    def __reduce__(self):
        return os.system, ("touch exploded",)


@pytest.mark.parametrize("name", ["pickle", "skops"])
def test_a_file_of_another_program_is_refused_and_runs_nothing(path, monkeypatch, name):
    monkeypatch.chdir(path.parent)
    if name == "pickle":
        path.write_bytes(pickle.dumps(Bomb()))
    else:
        skops.io.dump(make_relu(), path)
    with pytest.raises(ValueError, match=r"model\.safetensors.*Pass a whole file"):
        load(path)
    assert os.listdir(path.parent) == [path.name]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Bytes of small fitted estimators."""
    path = tmp_path_factory.mktemp("saved") / "model"
    small = relu(X, Y[:, :2], n_hidden=3, n_components=2)
    estimators = {
        "relu": small,
        "conv": conv(PATCHES, PATCH_LABELS, n_filters=2, class_weight={-1: 1, 1: 2}),
        "probe": LinearProbe(
            FrozenEstimator(small), settings=SETTINGS, fine_tune=True
        ).fit(X, NEW),
    }
    found = {}
    for name, estimator in estimators.items():
        save(estimator, path)
        found[name] = path.read_bytes()
    return found


def test_damage_is_found(path, saved):
    data = saved["relu"]
    for position in range(0, len(data), 53):
        damaged = bytearray(data)
        damaged[position] ^= 4
        for edited in (bytes(damaged), data[:position]):
            path.write_bytes(edited)
            with pytest.raises(ValueError, match=str(path)):
                load(path)


def test_a_probe_is_saved_as_it_was_fitted(path):
    representation = relu(X, Y)
    probe = LinearProbe(FrozenEstimator(representation)).fit(X, NEW)
    expected = probe.decision_function(X)
    save(probe, path)
    size = path.stat().st_size
    representation.set_params(output="scores", callbacks=[Callback()]).fit(X, Y[:, :2])
    with pytest.raises(TypeError, match="callbacks"):
        save(probe, path)
    representation.set_params(callbacks=None)
    save(probe, path)
    again = load(path)
    np.testing.assert_array_equal(again.decision_function(X), expected)
    assert not np.array_equal(clone(again).fit(X, NEW).decision_function(X), expected)
    assert path.stat().st_size > 1.4 * size  # arrays were shared until then


HAND_EDITED = [
    ("relu", ["class"], "os.system", "does not make|not make"),
    ("relu", ["class"], "LogisticRegression", "not make"),
    ("relu", ["class"], ["MultiTaskReLURepresentation"], "not make"),
    ("relu", ["class"], "ConvMultiTaskClassifier", "parameters of Conv"),
    ("relu", ["parameters", "n_hidden"], "many", "n_hidden"),
    ("relu", ["parameters", "callbacks"], {"os.system": ["ls"]}, "unknown kind"),
    ("relu", ["parameters", "n_components"], {"estimator": {}}, "unknown kind"),
    ("relu", ["parameters", "random_state"], {"RandomState": [1]}, "random_state"),
    ("relu", ["parameters", "random_state"], {"object": "os"}, "unknown kind"),
    ("relu", ["parameters"], {}, "does not hold the parameters"),
    ("relu", ["fitted"], None, "lacks a part"),
    ("relu", ["version"], {"os": "system"}, "which version"),
    ("relu", ["fitted", "hidden_weights_"], {"array": "nothing"}, "unknown kind"),
    ("relu", ["fitted", "hidden_weights_"], {"array": "task_coef_"}, "no proper"),
    ("relu", ["fitted", "hidden_weights_"], [[1.0]], "hidden_weights_"),
    ("relu", ["fitted", "_state_", "dict", 0, 0], "system", "_state_.hidden_weights"),
    ("relu", ["fitted", "_state_"], {"dict": []}, "no proper"),
    ("relu", ["fitted", "_seed_"], -1, "_seed_"),
    ("relu", ["fitted", "n_tasks_"], 10**12, "no proper"),
    ("relu", ["fitted", "classes_"], [], "classes_"),
    ("relu", ["fitted", "label_form_"], "deep", "label_form_"),
    ("relu", ["fitted", "task_names_"], {"text": ["a" * 9999] + ["b"] * 999}, "kind"),
    ("relu", ["set_output"], "os.system", "set_output"),
    ("conv", ["fitted", "classes_"], {"text": ["one"]}, "classes_"),
    ("conv", ["fitted", "tasks_"], {"text": []}, "tasks_"),
    ("conv", ["fitted", "input_shape_"], {"tuple": [3, 10**12]}, "no proper"),
    ("conv", ["fitted", "n_features_in_"], 35, "n_features_in_"),
    ("conv", ["fitted", "kernel_size_"], {"tuple": [0]}, "kernel_size_"),
    ("conv", ["fitted", "solver_"], "adam", "_state_|step_size"),
    ("conv", ["fitted", "power_"], {"float": "inf"}, "power_"),
    ("probe", ["fitted", "representation_"], None, "weights_"),
    ("probe", ["fitted", "representation_"], {"tuple": []}, "representation_"),
    ("probe", ["fitted", "representation_", "estimator", "fitted"], {}, "representa"),
    ("probe", ["parameters", "representation"], {"estimator": None}, "lacks"),
    ("probe", ["parameters", "settings"], {"ProbeSettings": 3}, "settings"),
    ("probe", ["fitted", "first_layer_", "dict", 0, 0], "predict", "first_layer_"),
    ("probe", ["fitted", "first_layer_", "dict", 0, 0], "n_hidden", "first_layer_"),
    ("probe", ["fitted", "coef_"], {"dict": []}, "coef_"),
    ("relu", ["fitted", "task_names_"], {"text": ["task0"] * 2}, "task_names_.*task0"),
    ("relu", ["fitted", "task_names_"], {"text": ["b", "a"]}, "task_names_.*'b', 'a'"),
    ("relu", ["fitted", "output_names_"], {"text": ["a", "a"]}, "output_names_.*'a'"),
    ("relu", ["fitted", "label_form_"], "single", "classes_"),
    ("relu", ["fitted", "n_iter_"], 3, "loss_curve_"),
    ("relu", ["fitted", "n_components_"], 3, "components_"),
    ("relu", ["fitted", "components_"], {"array": "hidden_weights_"}, "components_"),
    ("relu", ["fitted", "singular_values_"], {"array": "loss_curve_"}, "singular_val"),
    ("conv", ["fitted", "scale_"], 2.0, r"scale_.*_state_.*found 2\."),
    ("conv", ["fitted", "scale_"], {"float": "nan"}, "scale_.*found nan"),
    ("conv", ["fitted", "_head_"], "per_task", "head_coef_"),
    ("conv", ["fitted", "solver_"], "lbfgs", "solver_.*'lbfgs'|solver_.*lbfgs"),
    ("probe", ["fitted", "C_"], {"float": "inf"}, "C_.*found inf"),
    ("probe", ["fitted", "weights_", "dict", 0, 1], 0.9, "weights_.*a sum of"),
    ("probe", ["fitted", "weights_", "dict", 0, 1], -0.1, "weights_.*found -0.1"),
    ("probe", ["fitted", "weights_", "dict", 0, 0], "inputs", "unknown kind"),
    ("probe", ["fitted", "coef_", "dict", 0, 0], "other", "coef_.*other"),
    ("probe", ["fitted", "intercept_"], {"array": "classes_"}, "intercept_"),
    (
        "probe",
        ["fitted", "representation_", "estimator", "fitted"],
        {},
        "representation_.*not fitted",
    ),
]


@pytest.mark.parametrize(("name", "place", "value", "match"), HAND_EDITED)
def test_a_hand_edited_file_is_refused(path, saved, name, place, value, match):
    table, about, body = take_apart(saved[name])
    path.write_bytes(put_together(table, about, body))
    load(path)
    edited = replaced(about, ("content", *place), value)
    path.write_bytes(put_together(table, edited, body))
    with pytest.raises(ValueError, match=match) as error:
        load(path)
    assert str(path) in str(error.value)
    assert any(word in str(error.value) for word in ("restore", "Pass"))


@pytest.mark.parametrize("name", ["relu", "conv", "probe"])
def test_nothing_can_be_added_to_a_file(path, saved, name):
    table, about, body = take_apart(saved[name])
    more = {"dtype": "F64", "shape": [1], "data_offsets": [len(body), len(body) + 8]}
    path.write_bytes(put_together(table | {"x": more}, about, body + bytes(8)))
    with pytest.raises(ValueError, match="'x', to which nothing refers"):
        load(path)


@pytest.mark.parametrize("name", ["relu", "conv", "probe"])
def test_nothing_can_be_left_out_of_a_fitted_estimator(path, saved, name):
    table, about, body = take_apart(saved[name])
    # older files have what a probe was fitted on as a parameter alone, and no decay of
    # heads, which then is 1
    optional = {"n_features_in_", "representation_", "probe_prior_", "head_decay_"}
    for part in ("parameters", "fitted"):
        for key in about["content"][part].keys() - optional:
            rest = {k: v for k, v in about["content"][part].items() if k != key}
            edited = replaced(about, ("content", part), rest)
            path.write_bytes(put_together(table, edited, body))
            with pytest.raises(ValueError, match=str(path)):
                load(path)


def without(name, table, about, body):
    """The parts of a file that lacks an array."""
    start, stop = table[name]["data_offsets"]
    rest = {
        key: entry
        | {
            "data_offsets": [
                k - (stop - start) * (k >= stop) for k in entry["data_offsets"]
            ]
        }
        for key, entry in table.items()
        if key != name
    }
    names = [key for key in about["transposed"] if key != name]
    return rest, about | {"transposed": names}, body[:start] + body[stop:]


@pytest.mark.parametrize("name", ["relu", "conv"])
def test_nothing_can_be_left_out_of_the_state_of_training(path, saved, name):
    table, about, body = take_apart(saved[name])
    pairs = about["content"]["fitted"]["_state_"]["dict"]
    for k, (key, _) in enumerate(pairs):
        rest = pairs[:k] + pairs[k + 1 :]
        edited = replaced(about, ("content", "fitted", "_state_", "dict"), rest)
        path.write_bytes(put_together(*without(f"_state_.{key}", table, edited, body)))
        if key == "optimizer.filters.step_size":  # as before the first step
            load(path)
        else:
            with pytest.raises(ValueError, match="no proper"):
                load(path)


@pytest.mark.parametrize(
    ("k", "value"), [(0, [1]), (1, 625), (1, -1), (1, True), (2, 2), (3, "x")]
)
def test_a_random_stream_of_numpy_is_one(path, k, value):
    save(make_relu(random_state=stream()), path)
    table, about, body = take_apart(path.read_bytes())
    place = ("content", "parameters", "random_state", "RandomState", k)
    path.write_bytes(put_together(table, replaced(about, place, value), body))
    with pytest.raises(ValueError, match="no proper random_state"):
        load(path)


def test_a_random_stream_of_torch_is_one(path, saved):
    table, about, body = take_apart(saved["relu"])
    start, stop = table["_state_.generator"]["data_offsets"]
    edited = body[:start] + b"\xff" * (stop - start) + body[stop:]
    path.write_bytes(put_together(table, about, edited))
    with pytest.raises(ValueError, match="generator"):
        load(path)


@pytest.mark.parametrize("name", ["relu", "conv", "probe"])
def test_any_edit_is_refused_or_gives_a_whole_estimator(path, saved, name):
    """Every place with a few values, as one who computes the checksum could."""
    table, about, body = take_apart(saved[name])
    n_loaded = 0
    values = [None, 10**30, "x", [], {"array": "classes_"}, {"dict": [[[], 1]]}]
    for number, place in enumerate(places(about["content"])):
        value = values[number % len(values)]
        edited = replaced(about, ("content", *place), value)
        path.write_bytes(put_together(table, edited, body))
        with suppress(ValueError):
            loaded = load(path)
            if vars(loaded).keys() - loaded.get_params().keys():
                check_is_fitted(loaded)
                save(loaded, path)
                n_loaded += 1
    assert n_loaded > 0


# ---- values that no fit gives

EDITS = {
    "NaN": lambda a: np.where(np.arange(a.size).reshape(a.shape) == 0, np.nan, a),
    "inf": lambda a: np.where(np.arange(a.size).reshape(a.shape) == 0, np.inf, a),
    "negative": lambda a: -a,
    "reversed": lambda a: a[::-1] if a.ndim else a,
    "last axis reversed": lambda a: a[..., ::-1] if a.ndim else a,
    "twice": lambda a: np.repeat(a.ravel()[:1], a.size).reshape(a.shape),
    "larger": lambda a: a * 1.01,
    "more": lambda a: a + 1,
    "zero": lambda a: a * 0,
}


def edited_arrays(data):
    """A file with each of its arrays changed in a few ways, and what was changed."""
    table, about, body = take_apart(data)
    for name, entry in table.items():
        start, stop = entry["data_offsets"]
        dtype = np.dtype({"F": "<f", "I": "<i", "U": "<u"}[entry["dtype"][0]] + "8")
        dtype = np.dtype(f"{dtype.str[:2]}{int(entry['dtype'][1:]) // 8}")
        array = np.frombuffer(body[start:stop], dtype).reshape(entry["shape"])
        for edit, change in EDITS.items():
            if edit in ("NaN", "inf") and dtype.kind != "f":
                continue
            with np.errstate(all="ignore"):
                changed = change(array.astype(float)).astype(dtype)
            if changed.tobytes() != array.tobytes():
                parts = body[:start], changed.tobytes(), body[stop:]
                yield name, edit, put_together(table, about, b"".join(parts))


MADE = {
    "relu": lambda: relu(X, Y, n_hidden=3, n_components=None),
    "truncated": lambda: relu(X.astype("f4"), WORDS, n_hidden=3, n_components=2),
    "one step": lambda: relu(X, Y, algorithm="one_step", n_hidden=4, n_components=1),
    "gd": lambda: conv(PATCHES, PATCH_LABELS, n_filters=2, solver="gd"),
    "adam": lambda: conv(
        BARS, BAR_LABELS, tasks=BAR_TASKS, n_filters=3, head="per_task"
    ),
}


def outputs(estimator):
    if isinstance(estimator, MultiTaskReLURepresentation):
        return [estimator.transform(X), estimator.decision_function(X)]
    inputs = PATCHES if estimator.n_features_in_ == PATCHES[0].size else BARS
    tasks = None
    if len(estimator.tasks_) > 1:
        tasks = estimator.tasks_[BAR_TASKS]
    scores = estimator.decision_function(inputs, tasks=tasks)
    return [estimator.transform(inputs), scores]


def test_numbers_of_a_probe_are_finite_and_its_classes_sorted(path, saved):
    table, _, _ = take_apart(saved["probe"])
    own = [n for n in table if not n.startswith(("representation.", "settings"))]
    assert {n.partition(".")[0] for n in own} >= {"coef_", "intercept_", "first_layer_"}
    for array, edit, data in edited_arrays(saved["probe"]):
        is_wrong = edit in ("NaN", "inf")
        if array == "classes_":
            is_wrong = edit in ("reversed", "twice", "zero")
        if array in own and is_wrong:
            path.write_bytes(data)
            attribute = re.match("first_layer_|.*", array).group()
            with pytest.raises(ValueError, match=f"no proper {attribute}"):
                load(path)


@pytest.mark.parametrize("name", MADE)
def test_an_array_with_other_numbers_is_refused_or_predicts_the_same(path, name):
    """All that predictions follow from is tied to the state of training."""
    estimator = MADE[name]()
    save(estimator, path)
    expected, n_edits, loaded, messages = outputs(estimator), 0, set(), {}
    for array, edit, data in edited_arrays(path.read_bytes()):
        path.write_bytes(data)
        n_edits += 1
        try:
            found = load(path)
        except ValueError as error:
            messages[array] = str(error)
            continue
        loaded.add((array, edit))
        for one, other in zip(outputs(found), expected):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)
    assert n_edits > 50
    assert len(loaded) < n_edits / 2
    for array, message in messages.items():
        named = f"{re.escape(array.removesuffix('.0'))}"
        assert re.search(f"holds no proper ({named}|[a-z_]+: .*_state_)", message)
    assert not {edit for _, edit in loaded} & {"NaN", "inf"}
    for array, edit in loaded:
        if array.startswith(("classes_", "singular_values_", "components_")):
            assert edit not in ("reversed", "twice")
        if array.startswith(("n_", "_state_.moments", "singular_values_")):
            assert edit != "negative"


def test_a_file_of_an_older_version_loads_or_names_that_version(path, saved):
    table, about, body = take_apart(saved["relu"])
    about["content"]["version"] = "0.0.7"
    del about["content"]["parameters"]["checkpoint"]
    path.write_bytes(put_together(table, about, body))
    assert load(path).checkpoint is None
    for part, name in (("parameters", "n_layers"), ("fitted", "layers_")):
        edited = replaced(about, ("content", part), about["content"][part] | {name: 3})
        path.write_bytes(put_together(table, edited, body))
        with pytest.raises(ValueError, match=r"Load it with mtrl_sklearn 0\.0\.7"):
            load(path)


def test_nested_values_do_not_overflow_the_stack(path, saved):
    table, about, body = take_apart(saved["relu"])
    value = []
    for _ in range(400):
        value = {"tuple": [value]}
    about["content"]["parameters"]["callbacks"] = value
    path.write_bytes(put_together(table, about, body))
    with pytest.raises(ValueError, match=str(path)):
        load(path)


# ---- while others read and write

SAVER = """
import sys
from mtrl_sklearn import load, save
first, second, path = sys.argv[1:]
models = load(first), load(second)
while True:
    for model in models:
        save(model, path)
        print("x", flush=True)
"""


def test_a_killed_writer_leaves_the_old_file_or_the_new_one(tmp_path):
    """SIGKILL at any time, and a reader that sees one of both throughout."""
    sizes = {2: "first", 3: "second"}
    for n_hidden, name in sizes.items():
        save(relu(X, Y, n_hidden=n_hidden), tmp_path / name)
    path = tmp_path / "shared"
    save(load(tmp_path / "first"), path)
    command = [sys.executable, "-c", SAVER]
    names = [str(tmp_path / name) for name in ("first", "second", "shared")]
    seen = set()
    writer = subprocess.Popen([*command, *names], stdout=subprocess.PIPE)
    writer.stdout.readline()
    stop = time.monotonic() + 1
    while time.monotonic() < stop:
        seen.add(load(path).n_hidden)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    assert load(path).n_hidden in sizes
    assert seen == set(sizes)


# ---- skops

RELU = "mtrl_sklearn._relu.estimator.MultiTaskReLURepresentation"
CONV = "mtrl_sklearn._conv.estimator.ConvMultiTaskClassifier"
PROBE = "mtrl_sklearn.probing._linear_probe.LinearProbe"
CHOSEN = "mtrl_sklearn.probing._settings.ProbeSettings"


def probe_of_pipeline():
    pipeline = make_pipeline(StandardScaler(), make_relu()).fit(X, Y)
    return LinearProbe(pipeline, settings=SETTINGS).fit(X, NEW)


@pytest.mark.parametrize(
    ("make", "trusted", "inputs"),
    [
        (lambda: make_pipeline(StandardScaler(), make_relu()).fit(X, Y), [RELU], X),
        (
            lambda: make_pipeline(StandardScaler(), make_conv(input_shape=(3, 12))).fit(
                PATCHES.reshape(len(PATCHES), -1), PATCH_LABELS
            ),
            [CONV],
            PATCHES.reshape(len(PATCHES), -1),
        ),
        (
            lambda: make_pipeline(
                FrozenEstimator(relu(X, Y)), LogisticRegression()
            ).fit(X, NEW),
            [RELU],
            X,
        ),
        (lambda: LinearProbe(relu(X, Y)).fit(X, NEW), [RELU, PROBE], X),
        (probe_of_pipeline, [RELU, PROBE, CHOSEN], X),
    ],
    ids=["relu", "conv", "frozen", "probe", "probe of a pipeline"],
)
def test_skops_needs_the_documented_types_and_no_others(make, trusted, inputs):
    estimator = make()
    data = skops.io.dumps(estimator)
    assert skops.io.get_untrusted_types(data=data) == trusted
    loaded = skops.io.loads(data, trusted=trusted)
    assert_identical(loaded.predict(inputs), estimator.predict(inputs))


FILES = Path(__file__).parents[1] / "files"


def small_problem():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 3))
    return X, X @ rng.standard_normal((3, 4)) > 0


def test_a_file_with_a_parameter_that_is_gone_loads_and_tells():
    with pytest.warns(UserWarning, match="head_steps=2, which was a parameter"):
        model = load(FILES / "network_of_head_steps.safetensors")
    X, Y = small_problem()
    assert model.score(X, Y) > 0.8
    assert model.partial_fit(X, Y).n_iter_ == 4


def test_a_checkpoint_with_a_parameter_that_is_gone_goes_on(tmp_path):
    path = tmp_path / "fit"
    path.write_bytes((FILES / "checkpoint_of_head_steps.safetensors").read_bytes())
    model = MultiTaskReLURepresentation(4, max_iter=3, tol=1e-2, random_state=0)
    X, Y = small_problem()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = clone(model).set_params(checkpoint=path).fit(X, Y)
        anew = model.fit(X, Y)
    np.testing.assert_allclose(found.hidden_weights_, anew.hidden_weights_, rtol=1e-9)
