"""How Sphinx builds the site: `make docs`."""

import sys
import warnings
from pathlib import Path

from docutils import nodes
from sphinx_gallery.sorting import FileNameSortKey

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_ext")]

from mtrl_sklearn._version import ADDRESS, __version__  # noqa: E402

project = "mtrl_sklearn"
author = "the developers of mtrl_sklearn"
copyright = f"2026, {author}"
version = release = __version__
language = "en"

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "plain_text",
]
exclude_patterns = ["_build", "gallery/*.md", "**/*.ipynb"]
templates_path = ["_templates"]
nitpicky = True
suppress_warnings = ["config.cache"]

# Markdown -----------------------------------------------------------------------------
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Reference ----------------------------------------------------------------------------
autosummary_generate = True
autodoc_typehints = "none"  # numpydoc has the types, in words
autodoc_default_options = {"member-order": "bysource"}
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
default_role = "any"

# Inventories of other projects are optional: without a network their names are not
# links, and nothing else changes.
intersphinx_mapping = {
    "python": ("https://docs.python.org/3", None),
    "numpy": ("https://numpy.org/doc/stable", None),
    "scipy": ("https://docs.scipy.org/doc/scipy", None),
    "sklearn": ("https://scikit-learn.org/stable", None),
    "skorch": ("https://skorch.readthedocs.io/en/stable", None),
    "torch": ("https://docs.pytorch.org/docs/stable", None),
    "pandas": ("https://pandas.pydata.org/docs", None),
    "matplotlib": ("https://matplotlib.org/stable", None),
}
intersphinx_timeout = 5

# Gallery ------------------------------------------------------------------------------
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    "within_subsection_order": FileNameSortKey,
    "reset_modules": ("matplotlib", "seaborn", "sklearn_config.reset"),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_signature": False,
    "show_memory": False,
    "doc_module": ("mtrl_sklearn",),
    "backreferences_dir": "gallery/of",
    "inspect_global_variables": False,
    "plot_gallery": True,
}

# Pages --------------------------------------------------------------------------------
html_theme = "pydata_sphinx_theme"
html_title = "mtrl_sklearn"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_baseurl = ADDRESS or ""
html_theme_options = {
    "navigation_with_keys": False,
    "show_nav_level": 1,
    "header_links_before_dropdown": 6,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "back_to_top_button": False,
}
html_sidebars = {"index": [], "install": [], "choose": [], "papers": []}
