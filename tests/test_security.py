"""What SECURITY.md says: files of users are data, and what is run from the cache is one's own."""

from __future__ import annotations

import ast
import os
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from microzone.golden_model.files import FileError, make_cache

ROOT = Path(__file__).parents[1]
ROOMS = ("golden_model", "gateware", "sim", "boards", "tools", "package")
RUN_CODE = {"pickle", "cloudpickle", "marshal", "shelve", "dill", "joblib", "yaml", "runpy", "code"}
"""Modules that make code, or objects that run it, of what they read."""
THEIRS = {"tools/workers.py"}
"""Over pipes to processes of one's own."""


def calls() -> Iterator[tuple[str, ast.Call, str]]:
    """(file, call, name of what is called) of the whole package."""
    for path in (path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield path.relative_to(ROOT).as_posix(), node, ast.unparse(node.func)


def test_no_module_but_one_unpickles() -> None:
    found = set()
    for path in (path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            if {name.partition(".")[0] for name in names} & RUN_CODE:
                found.add(path.relative_to(ROOT).as_posix())
    assert found == THEIRS


def test_no_text_is_evaluated_and_no_shell_is_asked() -> None:
    evaluated = [
        (file, name) for file, _, name in calls() if name in ("eval", "exec", "os.system", "os.popen")
    ]
    assert evaluated == []
    shells = [file for file, call, _ in calls() for word in call.keywords if word.arg == "shell"]
    assert shells == []


def test_readers_of_numpy_and_torch_take_no_objects() -> None:
    def said(call: ast.Call) -> dict[str | None, str]:
        return {word.arg: ast.unparse(word.value) for word in call.keywords}

    for file, call, name in calls():
        assert said(call).get("allow_pickle", "False") == "False", file
        if name.endswith("read_array"):  # without a word it does take them
            assert said(call).get("allow_pickle") == "False", file
        if name == "torch.load":
            assert said(call).get("weights_only") == "True", file


class Runs:
    """What runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "command",
    [
        ["run", "{}", "--model", "float", "--out", "r.npz"],
        ["compare", "{}"],
        ["detect", "{}", "--channel", "pn", "--rate", "25000", "--out", "e.npz"],
    ],
)
def test_a_file_that_would_run_code_is_refused(
    microzone: Callable[..., Any], tmp_path: Path, command: list[str]
) -> None:
    ran, bad = tmp_path / "ran", tmp_path / "bad.npz"
    objects = np.array([Runs(ran)], dtype=object)
    np.savez(bad, pn=objects, io=objects, n_steps=objects)
    done = microzone(*(word.format(bad) for word in command))
    assert done.status == 2 and done.err.count("\n") == 1 and not ran.exists(), done.err
    pickle.loads(pickle.dumps(Runs(ran)))
    assert ran.exists(), "the file is a real one"


# --- the cache ----------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MICROZONE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_cache_is_made_for_its_user_alone(cache: Path) -> None:
    before = os.umask(0)
    try:
        assert make_cache() == cache and cache.stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o720, 0o1777])
def test_a_cache_that_others_may_write_to_is_refused(cache: Path, mode: int) -> None:
    cache.mkdir()
    cache.chmod(mode)
    with pytest.raises(FileError, match=f"cache folder {re.escape(str(cache))}: others may write to it"):
        make_cache()
    cache.chmod(0o755)
    assert make_cache() == cache


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_cache_of_another_user_is_refused(cache: Path) -> None:
    cache.mkdir(mode=0o700)
    os.chown(cache, 65534, 65534)
    with pytest.raises(FileError, match="others may write to it"):
        make_cache()
