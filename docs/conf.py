"""The site: `make docs` builds it, with every warning an error."""

import shutil
from pathlib import Path

import latex2mathml.converter
from docutils import nodes
from sphinx.writers.html5 import HTML5Translator

import bayesnn

HERE = Path(__file__).parent

project = "bayesnn"
author = "The bayesnn authors"
release = version = bayesnn.__version__
copyright = "2026, the bayesnn authors"
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton"]
exclude_patterns = ["_build", "Thumbs.db"]
html_theme = "furo"
html_title = "bayesnn"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
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
nb_output_stderr = "remove"  # progress bars

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


def _mathml(latex: str, display: str) -> str:
    """Formulas as MathML, which browsers draw themselves: no script, and nothing from elsewhere."""
    return latex2mathml.converter.convert(latex, display=display)


def visit_inline(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(_mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def visit_block(self: HTML5Translator, node: nodes.math_block) -> None:
    latex = node.astext()
    if r"\\" in latex and r"\begin" not in latex:
        latex = r"\begin{aligned}" + latex + r"\end{aligned}"
    self.body.append(f'<div class="formula">{_mathml(latex, "block")}</div>')
    raise nodes.SkipNode


def setup(app: object) -> None:
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
