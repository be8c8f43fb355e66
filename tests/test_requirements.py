"""The lock files: they keep to the bounds of pyproject.toml, agree, and have a hash for each file."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "requirements"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {"microzone": [], **PROJECT["optional-dependencies"]}
LOCKS = sorted(path.name for path in FOLDER.glob("*.txt") if path.name != "torch.txt")
PYTHONS = ("3.11.2", "3.12.0", "3.13.0", "3.14.0")
"""Debian 12 has the first."""


class Locked(NamedTuple):
    requirement: Requirement
    hashes: list[str]

    @property
    def name(self) -> str:
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> Version:
        (only,) = self.requirement.specifier
        assert only.operator == "=="
        return Version(only.version)

    def is_for(self, python: str) -> bool:
        marker = self.requirement.marker
        minor = ".".join(python.split(".")[:2])
        return marker is None or marker.evaluate({"python_full_version": python, "python_version": minor})


def locked(name: str) -> list[Locked]:
    """What a lock file has; ValueError for a line that is neither a requirement nor a hash of one."""
    text = re.sub(r"^\s*#.*\n", "", (FOLDER / name).read_text(), flags=re.M)
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        requirement, *options = re.split(r"\s+--", line)
        hashes = [option.strip() for option in options]
        if not all(re.fullmatch(r"hash=sha256:[0-9a-f]{64}", each) for each in hashes):
            raise ValueError(f"{name}: {line}")
        found.append(Locked(Requirement(requirement), hashes))
    return found


def lacking(extra: str, entries: list[Locked], python: str) -> list[str]:
    """What an extra asks for and a lock file does not give, or gives twice."""
    given: dict[str, list[Version]] = {}
    for entry in entries:
        if entry.is_for(python):
            given.setdefault(entry.name, []).append(entry.version)
    asked = [Requirement(text) for text in (*PROJECT["dependencies"], *EXTRAS[extra])]
    complaints = []
    for requirement in asked:
        name = canonicalize_name(requirement.name)
        versions = given.get(name, [])
        if len(versions) != 1 or not requirement.specifier.contains(versions[0], prereleases=True):
            complaints.append(f"{requirement}: {versions}")
    return complaints


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("extra", EXTRAS)
def test_a_lock_file_satisfies_the_bounds_of_its_extra(extra: str, python: str) -> None:
    entries = locked(f"{extra}.txt")
    if extra == "inference":
        entries += locked("torch.txt")
    assert lacking(extra, entries, python) == [], "run `make lock`"


def test_a_bound_that_is_not_satisfied_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROJECT, "dependencies", [*PROJECT["dependencies"], "rich>=1000", "absent"])
    assert lacking("microzone", locked("microzone.txt"), "3.12.0") == [
        f"rich>=1000: {[entry.version for entry in locked('microzone.txt') if entry.name == 'rich']}",
        "absent: []",
    ]


@pytest.mark.parametrize("name", LOCKS)
def test_each_entry_has_hashes(name: str) -> None:
    entries = locked(name)
    assert entries and [str(entry.requirement) for entry in entries if not entry.hashes] == []


def test_torch_alone_has_none_and_is_in_no_lock_file() -> None:
    (torch,) = locked("torch.txt")
    assert torch.name == "torch" and not torch.hashes
    brought = re.compile(r"torch|triton|(nvidia|cuda)-.*")
    assert [entry.name for name in LOCKS for entry in locked(name) if brought.fullmatch(entry.name)] == []


def test_lock_files_agree() -> None:
    seen: dict[tuple[str, str], tuple[str, Locked]] = {}
    for name in LOCKS:
        for entry in locked(name):
            for python in PYTHONS:
                if entry.is_for(python):
                    other, same = seen.setdefault((entry.name, python), (name, entry))
                    assert same.version == entry.version and same.hashes == entry.hashes, (name, other)


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_no_lock_file_names_a_place(path: Path) -> None:
    """Where a distribution comes from is up to who installs: a mirror of PyPI will do, since hashes are checked."""
    text = path.read_text()
    for line in text.splitlines():
        content = line.partition("#")[0]
        assert not re.search(r"://|/|\\(?!$)|--(?!hash=)|-[ifec] ", content), line
    assert not re.search(r"://|/(tmp|home|root|usr|work)", text)


def test_the_python_of_the_lock_files_is_that_of_the_project() -> None:
    asked = SpecifierSet(PROJECT["requires-python"])
    oldest = re.search(r"--python-version (\S+)", (ROOT / "tools" / "lock.sh").read_text())
    assert oldest is not None and asked.contains(oldest[1])
    assert not asked.contains(f"3.{int(oldest[1].split('.')[1]) - 1}")


@pytest.mark.parametrize("place", ["tools/setup.sh", "Makefile"])
def test_nothing_is_installed_unlocked(place: str) -> None:
    """But torch, and microzone itself, which is here."""
    text = (ROOT / place).read_text().replace("\\\n", " ")
    installs = [line.strip() for line in text.splitlines() if re.search(r"pip (-\S+ )*install", line)]
    assert installs
    for line in installs:
        own = line.endswith("--no-deps --no-build-isolation --editable .")
        assert "--require-hashes" in line or own or line.endswith("-r requirements/torch.txt"), line


def test_a_file_with_another_hash_is_refused(tmp_path: Path) -> None:
    """What the whole thing is for: pip takes no other file, though it has name and version."""
    (entry,) = (entry for entry in locked("microzone.txt") if entry.name == "tomli-w")
    (sources := tmp_path / "sources").mkdir()
    with zipfile.ZipFile(sources / f"tomli_w-{entry.version}-py3-none-any.whl", "w") as wheel:
        info = f"tomli_w-{entry.version}.dist-info"
        wheel.writestr("tomli_w.py", "")
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tomli_w\nVersion: {entry.version}\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    hashes = " ".join(f"--{each}" for each in entry.hashes)
    (tmp_path / "lock.txt").write_text(f"{entry.requirement} {hashes}\n")

    def install(*options: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--find-links", sources,
             "--target", tmp_path / "site", *options],
            capture_output=True, text=True, env={"PIP_CONFIG_FILE": "/dev/null"},
        )  # fmt: skip

    refused = install("--require-hashes", "-r", tmp_path / "lock.txt")
    assert refused.returncode != 0 and "HASH" in refused.stderr, refused.stderr
    assert not (tmp_path / "site" / "tomli_w.py").exists()
    assert install(f"tomli-w=={entry.version}").returncode == 0
