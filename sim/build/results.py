"""Which cocotb tests a bench has, and whether exactly these have run and passed."""

from __future__ import annotations

import ast
import importlib.util
from collections import Counter
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

from ...gateware.toolchain import ToolError
from ..failure import BenchFailure

__all__ = ["bench_tests", "check_results"]


@cache
def bench_tests(bench: str) -> frozenset[str]:
    """Names of the cocotb tests in a module, which is not imported: they must run, all of them.

    Raises
    ------
    ToolError
        If there is no such module, or it has no test.
    """
    spec = importlib.util.find_spec(bench)
    if spec is None or spec.origin is None:
        raise ToolError(f"{bench}: no such module")
    found = frozenset(
        statement.name
        for statement in ast.parse(Path(spec.origin).read_bytes()).body
        if isinstance(statement, ast.AsyncFunctionDef) and any(map(_is_test, statement.decorator_list))
    )
    if not found:
        raise ToolError(f"{bench}: has no cocotb test")
    return found


def _is_test(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return ast.unparse(called) in ("bench_test", "cocotb.test")


def check_results(results: Path, expected: frozenset[str]) -> None:
    """BenchFailure unless exactly the expected tests have run, each once, and all have passed.

    OSError or ElementTree.ParseError if there are no results, or not the whole of them.
    """
    cases = list(ElementTree.parse(results).iter("testcase"))
    for case in cases:
        for kind in ("failure", "error"):
            found = case.find(kind)
            if found is not None:
                why = found.get("message") or found.get("error_msg") or kind
                raise BenchFailure(f"{case.get('name')}: {why}")
    ran = Counter(str(case.get("name")) for case in cases if case.find("skipped") is None)
    if ran != Counter(expected):
        missing, other = sorted(expected - ran.keys()), sorted((ran - Counter(expected)).elements())
        parts = [f"{', '.join(missing)} did not run"] if missing else []
        parts += [f"{', '.join(other)} ran besides"] if other else []
        raise BenchFailure(f"not the tests of the bench: {'; '.join(parts)}")
