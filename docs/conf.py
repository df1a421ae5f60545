"""How the pages are built: ``python -m sphinx -W -b html docs docs/_build/html``."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
# The generator beside this file, and the packages themselves where they are not installed.
sys.path[:0] = [str(HERE), str(HERE.parent)]

project = "Neruba"
author = "Neruba contributors"
project_copyright = author
version = release = version_of("neruba")

extensions = ["myst_parser", "sphinx.ext.autodoc", "_generate"]
exclude_patterns = ["_build"]
nitpicky = False
default_role = "code"
# Quotes and ellipses, but no dashes: --config is an option.
smartquotes_action = "qe"

myst_heading_anchors = 3

# The order of a class is the order in which it is best read.
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
maximum_signature_line_length = 88
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"Neruba {release}"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["neruba.css"]
pygments_style = "friendly"
pygments_dark_style = "github-dark"
