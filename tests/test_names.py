"""Files and modules that docstrings and comments name are there: a move leaves none behind."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("golden_model", "gateware", "sim", "boards", "tools", "package", "docs/generate", "benchmarks")
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
FILES = {"rhd2000registers.cpp"}  # Intan's
FILES |= {
    path.name
    for folder in (*FOLDERS, "docs", "tests")
    for path in (ROOT / folder).rglob("*")
    if path.is_file()
}


def named(text: str) -> set[str]:
    """Files of ours that a text names between double backquotes."""
    return set(re.findall(r"``(?:[\w/.-]+/)?([\w-]+\.(?:py|rdl|sv|cpp))``", text))


def modules(text: str) -> set[str]:
    """Modules, and what is in them, that a text names from one of our folders on."""
    return set(re.findall(r"``((?:golden_model|gateware|sim|boards|tools)(?:\.\w+)+)``", text))


def exists(name: str) -> bool:
    """Whether a dotted name is a room, a module, or stands in one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:count])
        if path.is_dir() and count == len(parts):
            return True
        source = path.with_suffix(".py") if not path.is_dir() else path / "__init__.pyi"
        if source.is_file():
            if count == len(parts):
                return True
            word = rf"as {parts[count]}\b" if source.suffix == ".pyi" else rf"\b{parts[count]}\b"
            return re.search(word, source.read_text(encoding="utf-8")) is not None
    return False


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_source_names_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert sorted(named(text) - FILES) == []
    assert sorted(name for name in modules(text) if not exists(name)) == []


def test_a_stale_name_is_found() -> None:
    stale = "see ``gateware/cfpc_registers.rdl``, ``tools.figures`` and ``gateware.parameters.access_layout``"
    assert named(stale) - FILES == {"cfpc_registers.rdl"}
    assert {name for name in modules(stale) if not exists(name)} == {
        "tools.figures", "gateware.parameters.access_layout"
    }  # fmt: skip
