"""Sphinx settings of `make site`: the pages of docs/ as HTML that needs no network to be built or read.

The navigation is the tables of README.md, so that GitHub and the site have one index. A page that is in none
of them is a warning, and warnings are errors.
"""

from __future__ import annotations

import inspect
import re
import shutil
from pathlib import Path
from typing import Any

project = "microzone"
root_doc = "README"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_static"]
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # types in signatures, of which most are other projects'

autodoc_member_order = "groupwise"
autodoc_typehints = "none"  # the docstrings say types, with shapes and units
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Members", "params_style")]  # ports of a component
napoleon_use_rtype = False

myst_heading_anchors = 3  # the anchors of headings as GitHub makes them, which links rely on
highlight_language = "none"  # indented blocks are commands, formulae and drawings; fenced ones name theirs
smartquotes = False  # options keep their two dashes

html_theme = "furo"  # fonts of the system, no script or style from elsewhere
html_title = "microzone"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False

_HEADING = re.compile(r"^## +(.+)$", re.MULTILINE)
_PAGE = re.compile(r"^\| *\[[^]]+\]\(([^)#:]+\.md)\)", re.MULTILINE)


def navigation(index: str) -> str:
    """A hidden toctree a section, of the pages in its table."""
    first, *rest = _HEADING.split(index)
    sections = [("", first), *zip(rest[::2], rest[1::2], strict=True)]
    trees = []
    for caption, text in sections:
        if pages := _PAGE.findall(text):
            trees.append("\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```"]))
    return "\n\n".join(trees)


def _add_navigation(app: Any, name: str, source: list[str]) -> None:
    if name == root_doc:
        source[0] += "\n" + navigation(source[0])


def _constructor(
    app: Any, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str, None] | None:
    """What a component is made from: Amaranth's own ``__new__`` before its ``__init__`` takes anything."""
    if what != "class" or signature is None or not signature.startswith("(*args"):
        return None
    _, *parameters = inspect.signature(obj.__init__).parameters.values()
    plain = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters]
    return str(inspect.Signature(plain)), None


def _copy_index(app: Any, error: Exception | None) -> None:
    """A server, and a reader of files, look for index.html."""
    if error is None and app.builder.name == "html":
        folder = Path(app.outdir)
        shutil.copyfile(folder / f"{root_doc}.html", folder / "index.html")


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _add_navigation)
    app.connect("autodoc-process-signature", _constructor)
    app.connect("build-finished", _copy_index)
