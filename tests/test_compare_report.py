"""The report of ``microzone compare``: its numbers, the page as a text, and the page in a real browser."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import browser
import numpy as np
import pytest
from conftest import Outcome
from microzone.golden_model import SQ, ChipConfig, Events, MicrocircuitFixed, Protocol, Result, Trial
from microzone.golden_model.precision.detection import DetectionPrecision
from microzone.golden_model.precision.ranges import SignalRange
from microzone.tools.compare.precision_text import find_detection_faults
from microzone.tools.models import Comparison
from microzone.tools.report import page as report_page
from test_cli import raw_session

NARROW = "[plasticity]\npotentiation = 2e-3\n"
FAULT = re.compile(
    r"OVERFLOW:? w \(process 8, weight\) leaves UQ\(0,32\) in step [\d,]+ \([^)]*\), and in [\d,]+ steps in all; "
    r"without limits it would reach [\d.]+: needs (\d+) more integer bits?: UQ\((\d+),32\)"
)


@pytest.fixture
def compared(microzone: Callable[..., Outcome], tmp_path: Path) -> tuple[Outcome, Path]:
    """A session of 16 trials whose w outgrows its format."""
    protocol = Protocol(trials=(Trial.PAIRED,) * 12 + (Trial.CS_ALONE,) * 4)
    protocol.events(ChipConfig.make(), 4).save(tmp_path / "<session>.npz")
    (tmp_path / "narrow.toml").write_text(NARROW)
    outcome = microzone(
        "compare", tmp_path / "<session>.npz", "--config", tmp_path / "narrow.toml", "--out", "report",
        "--simulator", "cxxrtl",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    return outcome, Path("report")


class Elements(HTMLParser):
    """Start tags with their attributes, and the text outside of styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.text += "" if "style" in self._open else data

    def close(self) -> None:
        super().close()
        assert self._open == []


def test_the_report_says_what_terminal_and_json_say(compared: tuple[Outcome, Path]) -> None:
    outcome, folder = compared
    report = json.loads((folder / "report.json").read_text())
    (overflow,) = report["precision"]["overflows"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    elements = Elements(page)
    for text in (elements.text, outcome.out):
        found = FAULT.search(text)
        assert found is not None
        assert found[1] == found[2] == str(overflow["missing_integer_bits"])
        assert "BIT-ACCURATE" in text and "no underflow" in text
    assert f"step {overflow['step']:,} " in elements.text
    signals = report["precision"]["signals"]
    assert signals["weight"]["overflows_top"] == overflow["times"] > 0
    assert f"{overflow['times']:,}" in elements.text
    assert set(report["precision"]["parameters"]) >= {"plasticity.potentiation", "threshold.level"}
    assert report["config_sha256"] in elements.text
    assert "<session>.npz" in elements.text, "a name is text, not markup"


def test_the_report_needs_nothing_but_itself(compared: tuple[Outcome, Path]) -> None:
    _, folder = compared
    elements = Elements((folder / "report.html").read_text(encoding="utf-8"))
    links = [
        value
        for _, found in elements.tags
        for name, value in found.items()
        if name in ("src", "href", "srcset")
    ]
    assert links and all(link is not None and link.startswith("data:") for link in links)
    assert not {tag for tag, _ in elements.tags} & {"script", "iframe", "object", "embed"}
    images = [found["src"] or "" for tag, found in elements.tags if tag == "img"]
    assert [base64.b64decode(image.split(",")[1]) for image in images] == [
        (folder / name).read_bytes() for name in ("figure.png", "precision.png")
    ]
    assert all(found["alt"] for tag, found in elements.tags if tag == "img")


@pytest.fixture
def chromium() -> str:
    found = browser.find_browser()
    if found is None:
        pytest.skip(
            f"no browser: none of {', '.join(browser.NAMES)} on PATH, and MICROZONE_BROWSER names none"
        )
    return found


def test_the_report_in_a_browser(compared: tuple[Outcome, Path], chromium: str, tmp_path: Path) -> None:
    _, folder = compared
    seen = {
        dark: browser.load(
            chromium,
            folder / "report.html",
            dark=dark,
            shot=tmp_path / f"{dark}.png",
            back="getComputedStyle(document.body).backgroundColor",
            text="getComputedStyle(document.body).color",
            images="[...document.images].map(image => image.naturalWidth)",
            width="document.documentElement.scrollWidth",
        )
        for dark in (False, True)
    }
    for page in seen.values():
        assert page.failures == [] and page.messages == []
        assert [request for request in page.requests if not request.startswith("data:")] == [
            (folder / "report.html").resolve().as_uri()
        ]
        assert "✓ BIT-ACCURATE" in page.text and FAULT.search(page.text)
        assert len(page.values["images"]) == 2 and min(page.values["images"]) > 1000
        assert page.values["width"] <= 1280, "the page scrolls sideways"
    light, dark = (
        [sum(map(int, re.findall(r"\d+", seen[d].values[k]))) for k in ("back", "text")] for d in seen
    )
    assert light[0] > light[1] and dark[0] < dark[1]
    assert all((tmp_path / f"{d}.png").read_bytes().startswith(b"\x89PNG") for d in seen)


def test_the_browser_test_notices_what_it_looks_for(chromium: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text("<p>text</p><img src='http://127.0.0.1:1/x.png'><script>console.error('no')</script>")
    page = browser.load(chromium, bad)
    assert page.text == "text" and page.failures and "http://127.0.0.1:1/x.png" in page.requests
    assert any("no" in message for message in page.messages)


@pytest.mark.parametrize(
    "element",
    [
        "<img src='http://127.0.0.1:8/x.png'>",
        "<script src='http://127.0.0.1:8/x.js'></script>",
        "<link rel='stylesheet' href='http://127.0.0.1:8/x.css'>",
    ],
)
def test_the_page_forbids_requests(chromium: str, tmp_path: Path, element: str) -> None:
    page = report_page.page("t", "s", [element])
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    seen = browser.load(chromium, tmp_path / "page.html")
    assert any("Content Security Policy" in text for text in seen.messages)


def test_elements_of_a_page_escape_their_text() -> None:
    parts = [
        report_page.verdicts([("<a>", True, "<b>"), ("c", False, "d")]),
        report_page.table(["<h>", "i"], [["<j>", "k"], ["l", "m"]], faults=[(1, 1)]),
        report_page.facts([("<n>", "<o>")]),
        report_page.section("<p>", report_page.paragraph("<q>")),
        report_page.details("<r>", "<s>"),
    ]
    elements = Elements(report_page.page("<t>", "<u>", parts))
    for letter in "abhjnopqrstu":
        assert f"<{letter}>" in elements.text
    assert [found.get("class") for tag, found in elements.tags if tag == "li"] == ["good", "bad"]
    assert [found.get("class") for tag, found in elements.tags if tag == "td"] == [None, None, None, "bad"]
    assert "✓ <a> <b>" in elements.text and "✗ c d" in elements.text


# --- behaviour ----------------------------------------------------------------------------------


def learning(kinds: str, well_timed: str) -> dict[str, int | None]:
    """Of a session given trial by trial: p paired, a CS alone; x well-timed."""
    config = ChipConfig.make()
    cs = 5000 * np.arange(1, len(kinds) + 1)
    us = cs[np.array(list(kinds)) == "p"] + config.steps(0.3)
    n_steps = int(cs[-1]) + 5000
    cr = cs[np.array(list(well_timed)) == "x"] + 100
    events = Events(np.array([], np.int64), np.array([], np.int64), n_steps, cs, us)
    result = Result(cr, np.full(n_steps, 0.5), None, config)
    comparison = Comparison(events, {"float": result, "fixed": result})
    assert comparison.summary()["models"]["fixed"].items() >= comparison.learning("fixed").items()
    return comparison.learning("fixed")


@pytest.mark.parametrize(
    ("kinds", "well_timed", "expected"),
    [
        ("pppp", "--x-", {"trials_to_acquire": 3}),
        ("pppp", "----", {"trials_to_acquire": None}),
        ("aaaa", "x---", {}),
        ("app", "xx-", {"trials_to_acquire": 1}),  # the first trial is no training
        ("pp" + 14 * "a", "-x" + "xx-x" + 10 * "-", {"trials_to_acquire": 2, "trials_to_extinguish": 4}),
        ("pp" + 14 * "a", "-x" + "xx-xx" + 9 * "-", {"trials_to_acquire": 2, "trials_to_extinguish": None}),
        ("pp" + 12 * "a", "xx" + 12 * "-", {"trials_to_acquire": 1, "trials_to_extinguish": 0}),
        ("pp" + 12 * "a", "--" + "x" + 11 * "-", {"trials_to_acquire": None}),  # nothing to extinguish
    ],
)
def test_trials_to_acquire_and_to_extinguish(
    kinds: str, well_timed: str, expected: dict[str, int | None]
) -> None:
    assert learning(kinds, well_timed) == expected


# --- recordings ---------------------------------------------------------------------------------


def test_compare_detects_in_a_recording_first(microzone: Callable[..., Outcome], tmp_path: Path) -> None:
    raw_session(tmp_path / "r.mat")
    outcome = microzone(
        "compare", tmp_path / "r.mat", "--channel", "HIGH", "--rate", 25000, "--out", "c", "--json",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    report = json.loads(outcome.out)
    found = report["detection"]
    assert report["bit_accurate"] and found["bit_accurate"] and found["first_difference"] is None
    assert found["events_fixed"] == found["events_float"] == 12 and found["largest_shift_samples"] <= 1
    events = Events.load("c/events.npz")
    assert (
        microzone("detect", tmp_path / "r.mat", "--channel", "HIGH", "--rate", 25000, "--out", "d.npz").status
        == 0
    )
    detected = Events.load("d.npz")
    assert (
        np.array_equal(events.io, detected.io) and events.n_steps == detected.n_steps and events.pn.size == 0
    )
    signals = found["signals"]
    assert list(signals) == ["filtered", "mean", "variability", "threshold"]
    assert all(signal["overflows_top"] == signal["overflows_bottom"] == 0 for signal in signals.values())
    assert signals["variability"]["sqnr_db"] > 60
    assert "12 events in" in Path("c/report.html").read_text(encoding="utf-8")


def test_a_gateware_that_misses_an_event_is_not_bit_accurate(
    microzone: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from microzone.tools.compare.detect import RecordedChannel

    rtl = RecordedChannel.detect_rtl

    def deaf(*args: object, **kwargs: object) -> object:
        found = rtl(*args, **kwargs)  # type: ignore[arg-type]
        return type(found)([found.samples[0][1:]], found.signals, found.words)

    monkeypatch.setattr(RecordedChannel, "detect_rtl", deaf)
    raw_session(tmp_path / "r.mat")
    outcome = microzone(
        "compare", tmp_path / "r.mat", "--channel", "HIGH", "--rate", 25000, "--out", "c", "--as", "pn",
    )  # fmt: skip
    assert outcome.status == 1
    report = json.loads(Path("c/report.json").read_text())
    first = Events.load("c/events.npz").samples[0]  # type: ignore[index]
    assert report["first_difference"] == f"detection: sample {first:,} has an event in fixed only"
    assert f"NOT BIT-ACCURATE: {report['first_difference']}" in outcome.out
    assert Events.load("c/events.npz").pn.size == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--channel", "HIGH"), "--channel and --rate: a recording needs both"),
        (("--rate", 25000), "--channel and --rate: a recording needs both"),
        (("--channel", "LOW", "--rate", 25000), "LOW"),
        (("--channel", "HIGH", "--rate", 100), "Hz"),
        ((), "not an .npz file"),
    ],
)
def test_a_recording_that_cannot_be_used(
    microzone: Callable[..., Outcome], tmp_path: Path, options: tuple[object, ...], message: str
) -> None:
    raw_session(tmp_path / "r.mat")
    outcome = microzone("compare", tmp_path / "r.mat", *options, "--out", "c")
    assert outcome.status == 2 and message in outcome.err and outcome.err.count("\n") == 1
    assert not list(Path().glob("c/*"))


def test_a_detector_that_overflows_is_named() -> None:
    seen = SignalRange("variability", SQ(4, 0))
    seen.add(np.array([1, 7, 7]), np.array([1.0, 7.2, 30.0]), np.array([1, 7, 30]))
    quiet = SignalRange("mean", SQ(4, 0))
    none = np.zeros(0, np.int64)
    (found,) = find_detection_faults(DetectionPrecision({"mean": quiet, "variability": seen}, none, none))
    assert not found.good
    assert found.text.startswith("detection: variability leaves SQ(4,0) in sample 2, and in 1 samples in all")
    assert DetectionPrecision({}, np.array([5, 9]), np.array([5, 8])).largest_shift == 1
    assert DetectionPrecision({}, np.array([5, 9]), np.array([5])).largest_shift is None


def test_the_fixed_model_of_the_report_is_the_fixed_model(compared: tuple[Outcome, Path]) -> None:
    _, folder = compared
    events, config = Events.load(folder / "events.npz"), ChipConfig.load(folder / "config.toml")
    weight = MicrocircuitFixed(config).process(events.pn_steps, events.io_steps).weight
    report = json.loads((folder / "report.json").read_text())["precision"]["signals"]["weight"]
    assert (report["raw_min"], report["raw_max"]) == (weight.min(), weight.max())
