"""What the tests stand on: a change that breaks a source on purpose does break it, or is an error at once."""

from __future__ import annotations

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
