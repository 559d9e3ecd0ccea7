"""How Sphinx builds the site: `make docs`."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import urlopen

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_ext")]

from mtrl_sklearn._version import ADDRESS, __version__

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
    "sphinx_markdown_builder",
    "plain_text",
    "public_names",
]
exclude_patterns = ["_build", "gallery/*.md", "**/*.ipynb"]
templates_path = ["_templates"]
nitpicky = True

# Markdown -----------------------------------------------------------------------------
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Reference ----------------------------------------------------------------------------
autosummary_generate = True
autodoc_typehints = "none"  # numpydoc has the types, in words
autodoc_default_options = {"member-order": "bysource"}
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
default_role = "py:obj"

# Full names of this package have to lead somewhere; short ones and others may not.
nitpick_ignore_regex = [
    ("py:obj", r"(?!mtrl_sklearn\.).*"),
    ("py:.*", r"(sklearn|skorch|torch|numpy|scipy|pandas|matplotlib)\..*"),
]

# Without a network, names of other projects are no links, and nothing else changes.
PROJECTS = {
    "python": "https://docs.python.org/3",
    "numpy": "https://numpy.org/doc/stable",
    "scipy": "https://docs.scipy.org/doc/scipy",
    "sklearn": "https://scikit-learn.org/stable",
    "skorch": "https://skorch.readthedocs.io/en/stable",
    "torch": "https://docs.pytorch.org/docs/stable",
    "pandas": "https://pandas.pydata.org/docs",
    "matplotlib": "https://matplotlib.org/stable",
}


def has_inventory(address):
    """Whether the names of a project can be had now."""
    try:
        with urlopen(f"{address}/objects.inv", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


with ThreadPoolExecutor() as pool:
    reachable = pool.map(has_inventory, PROJECTS.values())
    intersphinx_mapping = {
        name: (address, None)
        for (name, address), is_there in zip(PROJECTS.items(), reachable)
        if is_there
    }

# Gallery ------------------------------------------------------------------------------
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    "within_subsection_order": "FileNameSortKey",
    "reset_modules": ("matplotlib", "gallery_runs.reset_settings"),
    "image_scrapers": ("gallery_runs.take_pictures",),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_signature": False,
    "show_memory": False,
    "write_computation_times": False,
    "doc_module": ("mtrl_sklearn",),
    "backreferences_dir": "gallery/of",
    "inspect_global_variables": False,
}

llms_summary = (
    "Representations learned from many binary tasks with missing labels, for new tasks "
    "with few labels: scikit-learn estimators on torch."
)

# Pages --------------------------------------------------------------------------------
html_theme = "pydata_sphinx_theme"
html_title = "mtrl_sklearn"
html_favicon = "_static/icon.svg"
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
html_context = {"default_mode": "auto"}
ALONE = (
    "index",
    "install",
    "choose",
    "papers",
    "benchmarks",
    "changelog",
    "cite",
    "release",
)
html_sidebars = {page: [] for page in ALONE}  # pages without others below them
