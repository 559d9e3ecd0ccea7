"""Which members of classes the reference shows, and how their docstrings are read."""

import re

# What files, graphs and plots ask of estimators: see "Adding a network" in
# CONTRIBUTING.md. Users call none of it.
BETWEEN_PARTS = {
    "check_fitted_form",
    "check_inputs",
    "check_parameters",
    "embed_onnx",
    "epoch_name",
    "first_layer",
    "first_layer_attributes",
    "fitted_form",
    "n_source_probabilities",
    "of_plain_rows",
    "read_older",
    "set_fitted_form",
    "snapshot",
    "untrained_features",
    "validation_name",
    "with_representation",
    "write_onnx",
}
FITTED_IN_SHAPE = re.compile(r"(?<=\w)_(?=[,)\s*])(?=[^(]*\))")


def skip_member(app, what, name, obj, skip, options):
    """Leave out what is inherited from elsewhere, and what only other modules call."""
    origin = getattr(obj, "__module__", None) or "mtrl_sklearn"
    if name in BETWEEN_PARTS or not str(origin).startswith("mtrl_sklearn"):
        return True
    return None


def escape_shapes(app, what, name, obj, options, lines):
    """Keep names such as n_iter_ in shapes from being read as links."""
    for k, line in enumerate(lines):
        if "shape" in line or " : " in line:
            lines[k] = FITTED_IN_SHAPE.sub(r"\\_", line)


def leave_out_call(app, what, name, obj, options, signature, returns):
    """Of a Protocol, which nobody calls, show no arguments."""
    if what == "class" and getattr(obj, "_is_protocol", False):
        return "", None
    return None


def setup(app):
    """Register all, the last after numpydoc."""
    app.connect("autodoc-skip-member", skip_member)
    app.connect("autodoc-process-signature", leave_out_call)
    app.connect("autodoc-process-docstring", escape_shapes, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
