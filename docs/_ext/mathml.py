"""Formulas as MathML, converted from TeX while the site is built.

Browsers show MathML without a script, so a reader needs neither JavaScript nor a content network.
The converter is the one of docutils, which Sphinx installs anyway.
"""

import re
from html import escape

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

logger = logging.getLogger(__name__)

# TeX that the converter reads in another way than TeX does, and braces that leave no doubt. TeX
# takes one digit as an argument, so `\frac12 x` is half of x; and an index after an accent
# belongs to the letter with its accent, which an empty group holds together.
_BRACED = (
    (re.compile(r"\\([dt]?frac) *(\d) *(\d)"), r"\\\1{\2}{\3}"),
    (re.compile(r"(\\(?:hat|bar|tilde) *(?:\{[^{}]*\}|\\[a-zA-Z]+|\w))(?=[_^])"), r"{\1{}}"),
)


def to_mathml(node, as_block):
    """Return the MathML of a formula; a formula that cannot be converted is a warning."""
    tex = node.astext()
    for pattern, replacement in _BRACED:
        tex = pattern.sub(replacement, tex)
    try:
        return tex2mathml(tex, as_block=as_block)
    except MathError as error:
        logger.warning("formula not converted: %s\n%s", error, node.astext(), location=node)
        return f"<code>{escape(node.astext())}</code>"


def visit_math(translator, node):
    """Write a formula within a line."""
    translator.body.append(f'<span class="math">{to_mathml(node, as_block=False)}</span>')
    raise nodes.SkipNode


def visit_displayed_math(translator, node):
    """Write a formula of its own, with its number where it has one."""
    translator.body.append(translator.starttag(node, "div", CLASS="math"))
    if node["number"]:
        number = get_node_equation_number(translator, node)
        translator.body.append(f'<span class="eqno">({number})</span>')
    translator.body.append(f"{to_mathml(node, as_block=True)}</div>\n")
    raise nodes.SkipNode


def setup(app):
    """Register the renderer; `html_math_renderer = "mathml"` selects it."""
    app.add_html_math_renderer(
        "mathml",
        inline_renderers=(visit_math, None),
        block_renderers=(visit_displayed_math, None),
    )
    app.add_css_file("mathml.css")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
