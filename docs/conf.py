"""Settings of Sphinx. The pages are built with: make docs."""

import sys
from pathlib import Path

import mlff_distiller

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "MLFF Distiller"
copyright = "The MLFF Distiller developers"
version = release = mlff_distiller.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.extlinks",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "generated_pages",
]
extlinks = {"doi": ("https://doi.org/%s", "doi:%s"), "arxiv": ("https://arxiv.org/abs/%s", "arXiv:%s")}
exclude_patterns = ["_build", "_extensions"]
suppress_warnings = ["ref.python"]  # attributes of different classes may have the same name

html_theme = "furo"
html_title = f"MLFF Distiller {release}"

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 4

add_module_names = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
