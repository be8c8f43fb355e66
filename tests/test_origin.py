"""Reports say what has made them, and what their symbols mean."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Outcome
from microzone import __version__
from microzone.golden_model import ChipConfig, Protocol, Trial
from microzone.golden_model.provenance import whole_package
from microzone.tools.report.origin import command_line, made_by, origin
from test_compare_report import Elements

Microzone = Callable[..., Outcome]

REPORTS: dict[str, tuple[list[str], str]] = {
    "compare": (["compare", "EVENTS", "--simulator", "cxxrtl"], "report.json"),
    "session": (["session", "--paired", "1", "--iti", "1.5", "1.8", "--seed", "7"], "report.json"),
    "cfpc": (["cfpc", "pursuit", "--trials", "1", "--model", "float"], "report.json"),
    "word-lengths": (["cfpc", "word-lengths", "--trials", "1"], "word-lengths.json"),
    "reproduce": (["reproduce", "4", "--no-rtl", "--seed", "7"], "figure-4.json"),
    "infer": (["infer", "--want", "well_timed=0.4", "--simulations", "500", "--workers", "0"], "report.json"),
}


@pytest.mark.parametrize(
    "verb", [pytest.param(verb, marks=pytest.mark.slow if verb == "infer" else ()) for verb in REPORTS]
)
def test_a_report_says_what_has_made_it(microzone: Microzone, tmp_path: Path, verb: str) -> None:
    arguments, name = REPORTS[verb]
    Protocol(trials=(Trial.PAIRED,) * 2).events(ChipConfig.make(), 4).save(tmp_path / "a b.npz")
    arguments = [str(tmp_path / "a b.npz") if word == "EVENTS" else word for word in arguments]
    done = microzone(*arguments, "--out", "o")
    assert done.status in (0, 1) and Path("o", name).is_file(), done.err
    report: dict[str, Any] = json.loads(Path("o", name).read_text())
    found = report["origin"]
    assert found["version"] == __version__ and found["sources"] == whole_package().key("")[:16]
    quoted = [f"'{word}'" if " " in word else word for word in (*arguments, "--out", "o")]
    assert found["command"] == " ".join(["microzone", *quoted])
    if verb != "infer":  # which goes on with what is there, and then says the same again
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+00:00", found["date"])
    if "--seed" in arguments:
        assert report["seed"] == 7
    if verb == "compare":
        text = Elements(Path("o/report.html").read_text(encoding="utf-8")).text
        for word in (__version__, found["sources"], found["command"], found["date"]):
            assert word in text


def test_the_origin_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/a/b/microzone", "run", "it's.npz"])
    assert command_line() == """microzone run 'it'"'"'s.npz'"""
    assert "date" not in origin(dated=False)
    words = dict(made_by({"origin": origin(), "seed": 3}))
    assert words["command"] == command_line() and words["seed"] == "3" and words["date"].endswith("+00:00")
    assert "seed" not in dict(made_by({"origin": origin()}))


@pytest.mark.parametrize("adaptive", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_symbol_of_the_report_is_explained(
    microzone: Microzone, tmp_path: Path, adaptive: bool
) -> None:
    """Each signal and parameter that a table of the page names has its meaning below that table."""
    more = ["--adaptive"] if adaptive else []
    done = microzone("demo", "--paired", 20, "--cs-alone", 1, *more, "--simulator", "cxxrtl", "--out", "o")
    assert done.status == 0, done.err
    html = Path("o/report.html").read_text(encoding="utf-8")
    tables = re.findall(r'<tbody>(.*?)</tbody>.*?<p class="dim symbols">(.*?)</p>', html, flags=re.DOTALL)
    assert len(tables) == html.count("<tbody>") == 4 + adaptive, "a table without its symbols"
    for body, meanings in tables[1:]:
        terms = {each for term in re.findall("<b>(.*?)</b>", meanings) for each in term.split(", ")}
        for name in re.findall(r"<tr><td[^>]*>(.*?)</td>", body):
            symbol = name.split(" = ")[0].removesuffix(", the CR")
            if symbol.startswith("recalibration."):
                symbol = "recalibration.*"
            if symbol.startswith("(trace"):
                symbol = "steps"
            assert any(symbol in (term, f"trace{term}") for term in terms), f"{name}: not explained"
