"""The parts of docs/ and README.md that come from the code: tables between markers, and timing diagrams.

``make docs`` writes them; a test fails where a page and the code disagree. A generated part stands between
``<!-- generated: NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from microzone.tools.cfpc.studies import CFPC_STUDY_TABLES

from .architecture import architecture_svg, blocks_table
from .blocks import BLOCK_TABLES
from .boards import BOARD_TABLES
from .cfpc import CFPC_TABLES
from .diagrams import DIAGRAMS
from .registers import write_registers
from .tables import TABLES as PAGE_TABLES

__all__ = ["DOCS", "PAGES", "TABLES", "fill", "main"]

DOCS = Path(__file__).resolve().parents[1]
PAGES = [DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))]
TABLES = {
    "where-a-block-is": blocks_table,
    **PAGE_TABLES,
    **BLOCK_TABLES,
    **BOARD_TABLES,
    **CFPC_TABLES,
    **CFPC_STUDY_TABLES,
}
_MARKED = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(page: str) -> str:
    """A page with every generated part made anew; KeyError for an unknown name."""
    return _MARKED.sub(lambda match: match[1] + TABLES[match[2]]() + match[3], page)


def main() -> None:
    """Write every generated part of the pages."""
    import wavedrom

    for path in PAGES:
        path.write_text(fill(path.read_text(encoding="utf-8")), encoding="utf-8")
    write_registers(DOCS / "registers")
    (DOCS / "architecture.svg").write_text(architecture_svg(), encoding="utf-8")
    for name, diagram in DIAGRAMS.items():
        target = DOCS / "blocks" / f"{name}-timing.json"
        target.write_text(json.dumps(diagram(), indent=1) + "\n", encoding="utf-8")
        drawing = wavedrom.render(target.read_text(encoding="utf-8")).tostring()
        # A page may be dark; the diagram's lines are.
        head, tail = drawing.split(">", 1)
        white = '<rect width="100%" height="100%" fill="white"/>'
        target.with_suffix(".svg").write_text(f"{head}>{white}{tail}\n", encoding="utf-8")
