"""The picture of docs/architecture.md: how a sample and an event travel, and what each room may import.

Which rooms there are is read from the folders. What stands in them and who may import whom is checked by
``make lint`` (import-linter, in pyproject.toml), so that the picture has no arrow of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from microzone.gateware.blocks import BLOCKS

__all__ = ["LAYERS", "ROOT", "architecture_svg", "blocks_table", "rooms"]

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("tools", "sim", "boards", "gateware", "golden_model")
"""From above to below: each may import those below it, none above it."""

_PURPOSE = {
    "tools": "the command line, the host, studies",
    "sim": "simulators, benches, proofs, loops",
    "boards": "synthesis, pins, bitstreams",
    "gateware": "the chip in Amaranth",
    "golden_model": "what the chip computes, float and fixed",
}
_SEVERAL = {"arithmetic", "linked", "map", "parameters", "ports", "program", "registers"}
"""Modules whose name several rooms have: by it no test is found."""
_BLOCKS = (
    # block, what goes in and out, model, gateware
    ("amplifier", "SPI -> samples", "amplifier.py", "amplifier/"),
    ("detection", "samples -> events", "detection.py", "detection/"),
    ("microcircuit", "events -> w, CRs", "microcircuit.py", "microcircuit/"),
    ("stimulation", "CRs -> pulses", "stimulation.py", "stimulation/"),
)
_INK, _SOFT, _FILL, _OUTSIDE = "#1f2933", "#52606d", "#e8f0fa", "#f5f0e6"
_WIDTH, _HEIGHT = 1080, 640


def rooms(layer: str) -> list[str]:
    """The packages in a folder, by name."""
    return sorted(path.parent.name for path in (ROOT / layer).glob("*/__init__.py"))


def blocks_table() -> str:
    """Where each block of the chip is: a row a block, made from the files that there are."""
    lines = [
        "| block | golden model | gateware | simulation | page | tests |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    pages = ROOT / "docs"
    for name in (*BLOCKS, "registers"):
        parts = [path.stem for path in sorted((ROOT / "gateware" / name).glob("*.py"))]
        own = [name, *(part for part in parts if part not in {name, "__init__", *_SEVERAL})]
        cells = (
            _found(f"golden_model/{name}*.py") or _found(f"golden_model/{name}/"),
            _found(f"gateware/{name}/") or _found(f"gateware/{name}.py", f"gateware/*/{name}.py"),
            _found(
                f"sim/benches/{name}.py",
                f"sim/loop/{name}.py",
                f"sim/replay/{name}_replay.py",
                *(f"sim/{room}/{part}.py" for room in ("formal", "fuzz") for part in own),
            ),
            ", ".join(
                f"[{page.stem}]({page.relative_to(pages)})"
                for page in (pages / "blocks" / f"{name}.md", pages / f"{name}.md")
                if page.exists()
            ),
            _found(*(f"tests/test_{part.removesuffix('s')}*.py" for part in own)),
        )
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _found(*patterns: str) -> str:
    """The files and folders of these patterns; the pattern itself where it has many; empty where none."""
    names: list[str] = []
    for pattern in patterns:
        found = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob(pattern))]
        slash = "/" if pattern.endswith("/") else ""
        names += [pattern] if len(found) > 3 else [name + slash for name in found]
    return ", ".join(f"`{name}`" for name in dict.fromkeys(names))


def architecture_svg() -> str:
    """The drawing, as SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'font-family="sans-serif" font-size="14">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
        f'orient="auto-start-reverse"><path d="M0 0 L10 5 L0 10 z" fill="{_INK}"/></marker></defs>',
        *_chip(),
        *_layers(),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _chip() -> list[str]:
    """The chip: a sample comes in on the left, a pulse leaves on the right."""
    parts = [_text(20, 30, "How a sample and an event travel", size=18, weight="bold", anchor="start")]
    parts.append(_box(20, 80, 100, 84, ["electrodes"], _OUTSIDE))
    width, gap, left, top = 190, 30, 150, 80
    for index, (name, what, model, gateware) in enumerate(_BLOCKS):
        x = left + index * (width + gap)
        lines = [name, what, f"golden_model/{model}", f"gateware/{gateware}"]
        parts.append(_box(x, top, width, 84, lines, _FILL))
        parts.append(_arrow((x - gap if index else 120, top + 42), (x, top + 42)))
    last = left + 3 * (width + gap) + width
    parts.append(_text(last + 32, top + 20, "facial", size=13))
    parts.append(_text(last + 32, top + 36, "nucleus", size=13))
    parts.append(_arrow((last, top + 42), (last + 60, top + 42)))
    # Recalibration sits below the microcircuit, and the blanking goes back to the detection.
    middle = left + 2 * (width + gap)
    parts.append(
        _box(middle, 200, width, 66, ["recalibration", "IO rate -> δp, δd", "with the microcircuit"], _FILL)
    )
    parts.append(_arrow((middle + width / 2, 200), (middle + width / 2, top + 84), both=True))
    end, start = left + width + gap + width / 2, left + 3 * (width + gap) + width / 2
    parts.append(_path(f"M{start} {top} V58 H{end} V{top}"))
    parts.append(
        _text((start + end) / 2, 52, "blanking: the IO is not listened to while a pulse is on", size=13)
    )
    # The way to the host.
    lines = [
        "registers and link",
        "parameters to every block, events and w from it",
        "gateware/registers/, gateware/link/: frames over UART",
    ]
    parts.append(_box(left, 200, width + gap + width, 66, lines, _FILL))
    for index in range(2):
        of_room = left + index * (width + gap) + width / 2
        parts.append(_arrow((of_room, 200), (of_room, top + 84), both=True))
    parts.append(_box(20, 200, 100, 66, ["host", "tools/host/"], _OUTSIDE))
    parts.append(_arrow((120, 233), (left, 233), both=True))
    return parts


def _layers() -> list[str]:
    """The rooms: what stands higher may import what stands lower."""
    top = 330
    parts = [
        _text(
            20,
            top - 14,
            "What each room may import: the rooms below it",
            size=18,
            weight="bold",
            anchor="start",
        )
    ]
    for index, layer in enumerate(LAYERS):
        y = top + index * 60
        parts.append(_box(20, y, 250, 46, [f"{layer}/", _PURPOSE[layer]], _FILL, small=11))
        names = "   ".join(f"{room}/" for room in rooms(layer)) or "one room"
        parts.append(_text(290, y + 28, names, size=13, anchor="start", colour=_SOFT))
        if index:
            parts.append(_arrow((145, y - 14), (145, y)))
    return parts


def _box(
    x: float, y: float, width: float, height: float, lines: Sequence[str], fill: str, small: int = 12
) -> str:
    shape = f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{fill}" stroke="{_INK}"/>'
    first, *others = lines
    step = 16
    start = y + height / 2 - step * len(others) / 2 + 5
    texts = [_text(x + width / 2, start, first, weight="bold")]
    texts += [
        _text(x + width / 2, start + step * (i + 1), line, size=small, colour=_SOFT)
        for i, line in enumerate(others)
    ]
    return "\n".join([shape, *texts])


def _arrow(start: tuple[float, float], end: tuple[float, float], *, both: bool = False) -> str:
    (x1, y1), (x2, y2) = start, end
    ends = 'marker-end="url(#head)"' + (' marker-start="url(#head)"' if both else "")
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{_INK}" stroke-width="1.5" {ends}/>'


def _path(path: str) -> str:
    return f'<path d="{path}" fill="none" stroke="{_INK}" stroke-width="1.5" marker-end="url(#head)"/>'


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 14,
    weight: str = "normal",
    anchor: str = "middle",
    colour: str = _INK,
) -> str:
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" '
        f'fill="{colour}">{escape(text)}</text>'
    )
