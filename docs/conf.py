"""Configuration of the documentation site: Sphinx, MyST and Furo.

In: the pages of this folder, the command line and the settings of posecast. Out: HTML that loads nothing from another
host. Next: `_ext/posecast_reference.py`, which writes the generated parts of the reference.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import posecast

project = "posecast"
author = "the posecast authors"
copyright = "the posecast authors; Apache-2.0"
version = release = posecast.__version__
html_title = f"posecast {release}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "mathml", "posecast_reference"]
exclude_patterns = ["_build"]
highlight_language = "text"
smartquotes_action = "De"  # no curly quotes: shapes such as Float[Tensor, "N 3 H W"] have quotes
nitpicky = True
keep_warnings = True

myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 4

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["posecast.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
default_role = "code"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
nitpick_ignore_regex = [("py:.*", ".*")]  # types of other packages; their documentation is on other hosts
