"""The site: `make docs` builds it, with every warning an error."""

import shutil
from pathlib import Path

import bayesnn

HERE = Path(__file__).parent

project = "bayesnn"
author = "The bayesnn authors"
release = version = bayesnn.__version__
copyright = "2026, the bayesnn authors"
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton"]
extensions += ["sphinx-mathjax-offline"]  # formulas without anything from elsewhere
exclude_patterns = ["_build", "Thumbs.db"]
html_theme = "furo"
html_title = "bayesnn"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0072b2", "color-brand-content": "#0072b2"},
    "dark_css_variables": {"color-brand-primary": "#56b4e9", "color-brand-content": "#56b4e9"},
}

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # `make notebooks` runs them, and what they said then is committed with them
nb_merge_streams = True
nb_output_stderr = "show"  # warnings, which are part of the story

autodoc_typehints = "none"
autodoc_member_order = "bysource"
add_module_names = False
python_use_unqualified_type_names = True
default_role = "code"
napoleon_google_docstring = True
napoleon_use_rtype = False
napoleon_custom_sections = [("Warns", "returns_style")]

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Notebooks stand apart from the pages in the repository; the site shows copies.
SHOWN = HERE / "notebooks"
SHOWN.mkdir(exist_ok=True)
for path in sorted((HERE.parent / "notebooks").glob("*.ipynb")):
    shutil.copy(path, SHOWN / path.name)
