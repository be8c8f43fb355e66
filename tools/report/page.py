"""A self-contained HTML page: headings, verdicts, tables and pictures, with nothing to fetch.

Works from disk; follows the reader's dark or light colours. A content security policy forbids all requests,
so that a page that would need one is visibly broken.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..text import printable

__all__ = ["details", "facts", "page", "paragraph", "picture", "section", "symbols", "table", "verdicts"]

_STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --dim: #57606a; --back: #ffffff; --card: #f6f8fa;
  --line: #d0d7de; --good: #00664a; --good-back: #dff3ec; --bad: #a33c00; --bad-back: #fde8da; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --dim: #9da7b1; --back: #0d1117;
  --card: #161b22; --line: #3d444d; --good: #5fd6ad; --good-back: #0b2a21; --bad: #ffb07a;
  --bad-back: #35190a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 80rem; background: var(--back); color: var(--text);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
p { margin: .4rem 0; } .dim { color: var(--dim); } .symbols { font-size: .87rem; }
code, pre { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: .9em; }
pre { background: var(--card); padding: 1rem; overflow-x: auto; border-radius: 6px; }
ul.verdicts { list-style: none; margin: 1.2rem 0; padding: 0; display: grid; gap: .5rem; }
ul.verdicts li { padding: .6rem .9rem; border-left: .4rem solid; border-radius: 6px;
  overflow-wrap: anywhere; }
ul.verdicts .good { background: var(--good-back); border-color: var(--good); }
ul.verdicts .bad { background: var(--bad-back); border-color: var(--bad); }
ul.verdicts strong { margin-right: .3rem; }
.good strong { color: var(--good); } .bad strong { color: var(--bad); }
ul.verdicts li:first-child strong { font-size: 1.15rem; }
div.wide { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; min-width: 40%; font-size: .87rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .5rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
th { color: var(--dim); font-weight: 600; vertical-align: bottom; white-space: normal; }
th:first-child, td:first-child { text-align: left; }
td.bad { color: var(--bad); font-weight: 700; }
figure { margin: 1rem 0; }
img { max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line); border-radius: 6px; }
figcaption { color: var(--dim); font-size: .92rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .6rem 0; }
dt { color: var(--dim); } dd { margin: 0; overflow-wrap: anywhere; }
summary { cursor: pointer; margin: 1rem 0; }
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def escape(text: str) -> str:
    """A text as HTML has it, and nothing in it taken for a tag or a control character."""
    return html.escape(printable(text, lines=True))


def page(title: str, subtitle: str, parts: Iterable[str]) -> str:
    """The whole document.

    Parameters
    ----------
    title, subtitle : str
        Plain text.
    parts : iterable of str
        HTML, as the other functions of this module make it.

    Returns
    -------
    str
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Without an icon of its own a browser asks the page's server for one.
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n'
        "</head>\n<body>\n"
        f'<h1>{escape(title)}</h1>\n<p class="dim">{escape(subtitle)}</p>\n'
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def section(heading: str, *parts: str) -> str:
    """A heading and what belongs to it."""
    return f"<h2>{escape(heading)}</h2>\n" + "\n".join(parts)


def paragraph(text: str) -> str:
    """Plain text as a paragraph."""
    return f"<p>{escape(text)}</p>"


def verdicts(sentences: Iterable[tuple[str, bool, str]]) -> str:
    """(what, whether it is as wanted, why), one below the other; a sign tells them apart too."""
    items = ""
    for title, good, text in sentences:
        kind, sign = ("good", "✓") if good else ("bad", "✗")
        items += f'<li class="{kind}"><strong>{sign} {escape(title)}</strong> {escape(text)}</li>'
    return f'<ul class="verdicts">{items}</ul>'


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, faults: Iterable[tuple[int, int]] = ()
) -> str:
    """A table of plain text; the cells of `faults`, (row, column) from 0, stand out."""
    marked = set(faults)
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = ""
    for r, row in enumerate(rows):
        kinds = (' class="bad"' if (r, c) in marked else "" for c in range(len(row)))
        body += (
            "<tr>"
            + "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True))
            + "</tr>"
        )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values, as plain text."""
    return (
        "<dl>"
        + "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)
        + "</dl>"
    )


def symbols(meanings: Mapping[str, str]) -> str:
    """What the symbols of the table above it mean, in one small paragraph."""
    terms = (f"<b>{escape(name)}</b>: {escape(text)}" for name, text in meanings.items())
    return f'<p class="dim symbols">{"; ".join(terms)}.</p>'


def picture(path: Path, caption: str) -> str:
    """A PNG file, embedded; `caption` is read out in its place too."""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def details(summary: str, text: str) -> str:
    """Preformatted text that opens on demand."""
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>"
