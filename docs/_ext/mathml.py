"""Formulas as MathML, converted by Docutils when the site is built: browsers show it without a script or a font.

In: LaTeX from the pages. Out: MathML elements. Next: `posecast_reference.py`.
"""

from __future__ import annotations

import html
import re
from typing import Any
from xml.etree import ElementTree

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

REWRITTEN = (
    (re.compile(r"\\[bB]ig(?![a-zA-Z])"), ""),  # MathML stretches delimiters by itself
    (re.compile(r"\\lt(?![a-zA-Z])"), "<"),
    (re.compile(r"\\gt(?![a-zA-Z])"), ">"),
    (re.compile(r"\\[td]frac(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\frac\s*(\d)\s*(\d)"), r"\\frac{\1}{\2}"),
    (re.compile(r"(?<=[\w)}])\s*\\(log|ln)(?![a-zA-Z])"), r"\\,\\\1"),
    (re.compile(r"\\(log|ln|det)\s+(?=[\\\w])"), r"\\\1\\,"),
)
"""LaTeX that Docutils does not read or sets too tight, and an equivalent."""
NAMESPACE = "http://www.w3.org/1998/Math/MathML"
ACCENTS = "\u02c6\u02c9\u00af\u02dc"  # hat, bar, tilde
BRACE = "\u23df"
BARS = ("\u2016", "\u2225")


def visit_math(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(mathml_of(node, as_block=False))
    raise nodes.SkipNode


def visit_math_block(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(f'<div class="math">\n{mathml_of(node, as_block=True)}\n</div>\n')
    raise nodes.SkipNode


def mathml_of(node: nodes.math | nodes.math_block, *, as_block: bool) -> str:
    """Return the formula as a MathML element, or unchanged with a warning if it cannot be read."""
    formula = node.astext()
    for pattern, replacement in REWRITTEN:
        formula = pattern.sub(replacement, formula)
    try:
        return repaired(str(tex2mathml(formula, as_block=as_block)))
    except MathError as error:
        logging.getLogger(__name__).warning("formula %r: %s", node.astext(), error, location=node)
        return html.escape(node.astext())


def repaired(mathml: str) -> str:
    """Return MathML with indices beside accented letters, labels below braces, and bars of the height of a line."""
    ElementTree.register_namespace("", NAMESPACE)
    root = ElementTree.fromstring(re.sub(r"&(?!amp;|lt;|gt;)\w+;", lambda entity: html.unescape(entity[0]), mathml))
    for element in root.iter():
        kind, children = element.tag.partition("}")[2], list(element)
        if kind == "munderover" and (children[2].text or "") in ACCENTS:  # Docutils places the index below the letter
            letter, index, accent = children
            accented = ElementTree.Element(f"{{{NAMESPACE}}}mover", accent="true")
            accented.extend([letter, accent])
            element.tag = f"{{{NAMESPACE}}}msub"
            element[:] = [accented, index]
        elif kind == "mo" and element.text in BARS:
            element.set("stretchy", "false")
        elif kind == "msub" and len(children[0]) == 2 and children[0][1].text == BRACE:
            element.tag = f"{{{NAMESPACE}}}munder"
    return ElementTree.tostring(root, encoding="unicode")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    app.config.html_math_renderer = "mathml"  # pyright: ignore[reportAttributeAccessIssue]
    return {"parallel_read_safe": True, "parallel_write_safe": True}
