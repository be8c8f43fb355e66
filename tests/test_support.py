"""What the tests stand on: a change that breaks a source on purpose does break it, or is an error at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from microzone.golden_model import fixed
from support import applying, changed

ROWS = applying([("def to_real(", "def from_raw(")], fixed)


@pytest.mark.parametrize("old", ["a line that is not there", "def "])
def test_a_change_that_does_not_apply_is_an_error_where_its_table_is_made(old: str) -> None:
    with pytest.raises(LookupError, match=rf"'{old}' stands \d+ times in fixed\.py"):
        applying({"any": (old, "")}, fixed)


def test_a_change_of_no_table_is_an_error() -> None:
    with pytest.raises(LookupError, match="is in no table"):
        changed(fixed, "def to_raw(", "def other(")


def test_a_changed_module_is_another_one() -> None:
    other = changed(fixed, *ROWS[0])
    assert hasattr(other, "from_raw") and not hasattr(fixed, "from_raw")


def test_each_file_that_breaks_a_source_has_its_changes_looked_at() -> None:
    """Or takes them from a file that has; a table that was forgotten would be noticed by slow tests alone."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if re.search(r"^from support import .*\bchanged\b", text, re.MULTILINE):
            looked_at = "applying(" in text or re.search(r"^from test_\w+ import [A-Z]", text, re.MULTILINE)
            assert looked_at, path.name
