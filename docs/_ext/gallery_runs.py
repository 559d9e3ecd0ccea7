"""What the gallery does around each example: settings, and pictures that it saves."""

import shutil
from pathlib import Path

import sklearn
from sphinx_gallery.scrapers import figure_rst, matplotlib_scraper

USUAL = sklearn.get_config()


def reset_settings(gallery_conf, name):
    """Give scikit-learn the settings that it starts with."""
    sklearn.set_config(**USUAL)


def take_pictures(block, block_vars, gallery_conf, **kwargs):
    """Figures of a block, or else the files that a process of its own has drawn."""
    shown = matplotlib_scraper(block, block_vars, gallery_conf, **kwargs)
    names = []
    for saved in sorted(Path(block_vars["src_file"]).parent.glob("*.png")):
        if not shown:
            names.append(next(block_vars["image_path_iterator"]))
            shutil.copy(saved, names[-1])
        saved.unlink()
    return shown + figure_rst(names, gallery_conf["src_dir"])
