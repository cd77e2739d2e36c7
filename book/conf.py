"""Sphinx's settings of the reading room; `make book` prepares the sources (scripts/book.py) and calls it."""

from __future__ import annotations

import re
from typing import Any

from docutils.nodes import SkipNode
from latex2mathml.converter import convert

import cql_tutorial

project = "cql-tutorial"
author = "The cql-tutorial authors"
copyright = "2026, the cql-tutorial authors, MIT licence"  # a name that Sphinx gives
version = release = cql_tutorial.__version__
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "index"
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
exclude_patterns = ["_build"]
default_role = "code"  # docstrings write `name` for code

# Notebooks are shown as they are committed; nothing is run here.
nb_execution_mode = "off"
nb_merge_streams = True
nb_number_source_lines = False
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_class_signature = "separated"
autodoc_default_options = {"members": True, "show-inheritance": True}

html_theme = "furo"
html_title = "cql-tutorial"
html_static_path = ["static"]
html_css_files = ["book.css"]
html_js_files = ["frames.js"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header", "misc.highlighting_failure"]


FUNCTION = re.compile(r"(<mi>(?:log|exp|max|min|tanh|softmax|Var|Pr)</mi>)(?!</m|<mo stretchy)")
PRIME = re.compile(r"<msup>(<mi>[^<]*</mi>)<mi>&#x02032;</mi></msup>")


def mathml(formula: str, display: str) -> str:
    """The formula as MathML: browsers draw it, without a script and without a network.

    Primes stand on the line (their sign is raised already), tildes are relations, and function names keep a distance.
    """
    drawn = PRIME.sub(r'<mrow>\1<mo lspace="0" rspace="0">&#x02032;</mo></mrow>', convert(formula, display=display))
    drawn = drawn.replace("<mi>&#x0007E;</mi>", "<mo>&#x0223C;</mo>")
    return FUNCTION.sub(r'\1<mspace width="0.17em"></mspace>', drawn)


def inline(translator: Any, node: Any) -> None:
    """A formula in the text."""
    translator.body.append(mathml(node.astext(), "inline"))
    raise SkipNode


def block(translator: Any, node: Any) -> None:
    """A formula on a line of its own."""
    translator.body.append(f'<div class="formula">{mathml(node.astext(), "block")}</div>')
    raise SkipNode


def setup(app: Any) -> None:
    """Register the drawing of formulas."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
