"""What the verbs draw: everything is on the page, the raster is wide, and there is no wide gap."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Outcome
from generate.pages import DOCS
from generate.pictures import DRAWN, PICTURES
from generate.reproduced import reproduced_rows, rows_of_page
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text
from microzone.golden_model import ChipConfig, Protocol, Trial
from microzone.golden_model.calibration.calibration import calibrate
from microzone.golden_model.experiment.protocol import TRAINING
from microzone.tools.models import CONSTANT, Comparison, ModelName, run_model
from microzone.tools.report import figures
from microzone.tools.reproduce.command import FIGURES, WITH_INFERENCE
from PIL import Image

CONFIG = ChipConfig.make()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are drawn in a test, in place of files."""
    found: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **kwargs: found.append(figure))
    return found


def compared(
    config: ChipConfig, paired: int, alone: int, models: tuple[ModelName, ...] = ("float", "fixed", "rtl")
) -> Comparison:
    """A session whose gateware is as the fixed-point model is: a picture needs no simulator."""
    protocol = Protocol(trials=(Trial.PAIRED,) * paired + (Trial.CS_ALONE,) * alone)
    events = protocol.events(config, 1)
    same: dict[ModelName, ModelName] = {"float": "float", "fixed": "fixed", "rtl": "fixed"}
    results = {str(name): run_model(same[name], events, config) for name in models}
    if config.recalibration.enabled:
        results[CONSTANT] = run_model("fixed", events, config.replace(recalibration={"enabled": False}))
    return Comparison(events, results, protocol.isi_s)


def outside(figure: Figure) -> Iterator[str]:
    """Texts and legends that leave the page, by half a pixel or more."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    page = figure.bbox
    for artist in figure.findobj(lambda one: isinstance(one, Text | Legend)):
        name = artist.get_text() if isinstance(artist, Text) else "legend"
        box = artist.get_window_extent(canvas.get_renderer())
        if not artist.get_visible() or not name or not box.width or is_hidden(artist, figure):
            continue
        if min(box.x0, box.y0) < -0.5 or box.x1 > page.x1 + 0.5 or box.y1 > page.y1 + 0.5:
            yield f"{name}: {box}"


def is_hidden(artist: Text | Legend, figure: Figure) -> bool:
    """Whether it is the label of a tick beyond the limits of its axis, which is not drawn."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if artist in (tick.label1, tick.label2):
                    return not low <= tick.get_loc() <= high
    return False


def adaptive() -> ChipConfig:
    return calibrate(TRAINING.training(CONFIG, 1), CONFIG, training_sha256="0" * 64)


def draw_adaptive(path: Path) -> None:
    config = adaptive().replace(recalibration={"enabled": True})
    figures.draw_session(
        compared(config, 190, 180), path, "190 paired + 180 CS-alone trials, IO rate drifting"
    )


def draw_chip(path: Path, paired: int = 60) -> None:
    comparison = compared(CONFIG, paired, 0, ("fixed",))
    eyelid = np.linspace(0, 1, comparison.events.n_steps)
    figures.draw_session(comparison, path, "fixed: in closed loop", eyelid=eyelid)


SESSIONS: dict[str, Callable[[Path], None]] = {
    "demo": lambda path: figures.draw_session(compared(CONFIG, 120, 180), path, "120 paired + 180 alone"),
    "small demo": lambda path: figures.draw_session(compared(CONFIG, 2, 1), path, "2 paired + 1 alone"),
    "long name": lambda path: figures.draw_session(compared(CONFIG, 20, 10), path, "name " * 50),
    "adaptive": draw_adaptive,
    "session": draw_chip,
    "small session": lambda path: draw_chip(path, 3),
}


@pytest.mark.parametrize("name", SESSIONS)
def test_a_session_fills_its_page_and_does_not_leave_it(
    name: str, drawn: list[Figure], tmp_path: Path
) -> None:
    SESSIONS[name](tmp_path / "empty")
    (figure,) = drawn
    assert list(outside(figure)) == []
    raster, *others = (axes.get_position() for axes in figure.axes)
    assert raster.width > 0.42, "the raster is narrow"
    assert raster.height > 0.7, "the raster is low"
    assert min(other.x0 for other in others) - raster.x1 < 0.12, "a wide gap"
    assert max(other.x1 for other in others) > 0.9 and raster.x0 < 0.08, "a wide margin"


def test_a_session_without_trials_is_on_its_page(drawn: list[Figure], tmp_path: Path) -> None:
    comparison = compared(CONFIG, 2, 1)
    none = np.zeros(0, np.int64)
    bare = replace(comparison, events=replace(comparison.events, cs=none, us=none))
    figures.draw_session(bare, tmp_path / "empty", "no trials")
    assert list(outside(drawn[0])) == []


def test_what_leaves_a_page_is_seen() -> None:
    figure = Figure()
    figure.text(0.9, 0.5, "a text that is far too long for what is left of the page")
    assert len(list(outside(figure))) == 1


# --- the pictures of the documentation ------------------------------------------------------------

ROOT = DOCS.parent
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
QUICK = ("demo.png", "figures/cfpc-pursuit.png", "figures/cfpc-blink.png")


def test_every_picture_of_the_documentation_has_a_command() -> None:
    shown = {
        (page.parent / target).resolve().relative_to(DOCS).as_posix()
        for page in PAGES
        for target in re.findall(r"!\[[^]]*\]\(([^)]+\.png)\)", page.read_text(encoding="utf-8"))
    }
    assert shown == {*PICTURES, *DRAWN} == {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.png")}


def without_folder(command: str) -> str:
    return re.sub(r" --out \S+", "", command.partition("#")[0]).strip()


@pytest.mark.parametrize("name", PICTURES)
def test_the_command_of_a_picture_stands_on_its_page(name: str) -> None:
    picture = PICTURES[name]
    wanted = {*map(without_folder, (*picture.before, picture.command))}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if not re.search(rf"\]\((docs/|\.\./)?{re.escape(name)}\)", text):
            continue
        lines = {without_folder(line.replace(".venv/bin/", "")) for line in text.splitlines()}
        assert wanted <= lines or picture.shown in lines - {""}, f"{page.name}: {picture.command}"


def mark(path: Path) -> dict[str, str]:
    """What a PNG file tells of itself."""
    with Image.open(path) as image:
        return {name: str(value) for name, value in image.info.items()}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_says_its_command(name: str) -> None:
    assert mark(DOCS / name)["Command"] == PICTURES[name].command


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name, picture in PICTURES.items()
        if not picture.is_long
    ],
)
def test_a_picture_is_what_its_command_draws(name: str, microzone: Callable[..., Outcome]) -> None:
    """Compared by the numbers that are drawn: pixels change with each version of a font."""
    picture = PICTURES[name]
    done = microzone(*shlex.split(picture.command)[1:])
    assert done.status == 0, done.err
    assert mark(DOCS / name)["Plotted"] == mark(Path(picture.file))["Plotted"], f"make docs PICTURES={name}"


@pytest.mark.slow
def test_the_page_of_reproduce_is_what_it_says(microzone: Callable[..., Outcome]) -> None:
    """Its table and its pictures, but for the figures whose training differs from machine to machine."""
    names = [name for name in FIGURES if name not in WITH_INFERENCE]
    done = microzone("reproduce", *names, "--out", "out")
    assert done.status == 0, done.err
    assert rows_of_page(names) == reproduced_rows(Path("out"), names), "make docs PICTURES=all"
    drawn = {f"figures/reproduce-figure-{name}.png": f"out/figure-{name}.png" for name in names}
    for picture, path in drawn.items():
        if picture in PICTURES:
            assert mark(DOCS / picture)["Plotted"] == mark(Path(path))["Plotted"], picture


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_without_a_command_is_what_is_drawn(name: str, tmp_path: Path) -> None:
    DRAWN[name](tmp_path / "again.png")
    assert mark(DOCS / name)["Plotted"] == mark(tmp_path / "again.png")["Plotted"], (
        f"make docs PICTURES={name}"
    )


def test_a_digest_is_of_the_numbers_that_are_drawn() -> None:
    def digest(values: list[float], size: float = 5, label: str = "x") -> str:
        figure = Figure(figsize=(size, size))
        axes = figure.subplots()
        axes.plot([0, 1], values, label=label)
        axes.fill_between([0, 1], 0, 1 + np.abs(values))
        axes.axvspan(0, values[1])
        axes.imshow([values])
        return figures.plotted(figure)

    assert digest([-0.0, 1]) == digest([0, 1 + 1e-9], size=3)
    assert len({digest([0, 1]), digest([0, 1.001]), digest([0, np.nan]), digest([0, 1], label="y")}) == 4
