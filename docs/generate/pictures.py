"""The pictures of README.md and docs/: each is what the command shown beside it draws.

``make docs`` runs the commands and takes their pictures, ``make docs PICTURES="session.png"`` only those that
are named, ``make docs PICTURES=all`` also those that take long, and the table of docs/reproduce.md. A picture
has the digest of its numbers in it (:func:`microzone.tools.report.figures.plotted`); a test runs the command,
and compares that. Bytes or pixels would differ with every version of a font.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from microzone.golden_model.config import ChipConfig
from microzone.tools.reproduce.command import FIGURES, WITH_INFERENCE
from microzone.tools.sessions.preparation_figure import draw_preparation

from . import reproduced

__all__ = ["DRAWN", "PICTURES", "Picture", "draw_pictures"]

DOCS = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Picture:
    """Where a picture comes from.

    Attributes
    ----------
    command : str
        For a shell, as the page beside it shows it; but its ``--out`` may be another folder.
    file : str
        What it writes, as seen from the folder in which it is run.
    shown : str
        What a page may show instead, as it draws the same.
    before : tuple of str
        Commands whose files it reads.
    is_long : bool
        It takes minutes, or needs the extra `inference`.
    """

    command: str
    file: str
    shown: str = ""
    before: tuple[str, ...] = ()
    is_long: bool = False


_REPRODUCE = "microzone reproduce all"
_BOARD = r"printf '[time]\nclock_hz = 12e6\n' > board.toml"
_WANTED = "--want well_timed=0.4+-0.2 --want drift=0+-0.15 --want extinction=0.3 --check-rtl"
_INFER = f"microzone infer --config board.toml {_WANTED}"
_SEEN = "microzone infer --method npe --seen demo-output/events.npz demo-output/fixed.npz"

PICTURES: Mapping[str, Picture] = {
    "demo.png": Picture("microzone demo", "demo-output/figure.png", "make demo"),
    "adaptive.png": Picture("microzone demo --adaptive", "demo-output/figure.png"),
    "session.png": Picture("microzone session --out out/loop", "out/loop/session.png"),
    "figures/cfpc-pursuit.png": Picture("microzone cfpc pursuit", "cfpc-output/figure.png"),
    "figures/cfpc-blink.png": Picture("microzone cfpc blink", "cfpc-output/figure.png"),
    "figures/cfpc-robustness.png": Picture(
        "microzone cfpc robustness --out out/studies", "out/studies/robustness.png"
    ),
    "figures/cfpc-word-lengths.png": Picture(
        "microzone cfpc word-lengths --out out/studies", "out/studies/word-lengths.png"
    ),
    **{
        f"figures/reproduce-figure-{name}.png": Picture(
            _REPRODUCE, f"reproduce-output/figure-{name}.png", is_long=True
        )
        for name in ("10", "11", "8", "16", "cfpc-4", *WITH_INFERENCE)
    },
    **{
        f"figures/infer-{name}.png": Picture(
            _INFER, f"infer-output/{name}.png", f"microzone infer {_WANTED}", before=(_BOARD,), is_long=True
        )
        for name in ("pairs", "behaviour")
    },
    "figures/infer-seen.png": Picture(
        f"{_SEEN} --out out/seen --check-rtl",
        "out/seen/pairs.png",
        before=("microzone demo --out demo-output",),
        is_long=True,
    ),
    **{
        f"figures/infer-compare-{name}.png": Picture(
            "microzone infer-compare --out out/comparison", f"out/comparison/{name}.png", is_long=True
        )
        for name in ("regions", "pathologies", "sensitivity", "energy")
    },
    "sweep.png": Picture("microzone sweep --out out/sweep", "out/sweep/formats.png", is_long=True),
}
"""By where they are in docs/."""


def _preparation(path: Path) -> None:
    draw_preparation(ChipConfig.make(), path)


DRAWN: Mapping[str, Callable[[Path], None]] = {"preparation.png": _preparation}
"""Those that no command draws: by what else."""


def draw_pictures(names: Iterable[str]) -> None:
    """Draw the pictures of these names; of ``all`` all, of none those that do not take long.

    Raises
    ------
    KeyError
        If there is none of a name.
    CalledProcessError
        If a command fails.
    """
    wanted = list(names) or [name for name, picture in PICTURES.items() if not picture.is_long] + [*DRAWN]
    if wanted == ["all"]:
        wanted = [*PICTURES, *DRAWN]
    for name in wanted:
        if name in DRAWN:
            DRAWN[name](DOCS / name)
    env = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    by_command: dict[tuple[str, ...], list[str]] = {}
    for name in wanted:
        if name not in DRAWN:
            picture = PICTURES[name]
            by_command.setdefault((*picture.before, picture.command), []).append(name)
    for commands, of in by_command.items():
        with tempfile.TemporaryDirectory(prefix="microzone-docs-") as folder:
            for command in commands:
                print(command, flush=True)
                subprocess.run(command, shell=True, cwd=folder, env=env, check=True)
            if _REPRODUCE in commands:
                rows = reproduced.reproduced_rows(Path(folder, "reproduce-output"), FIGURES)
                reproduced.PAGE.write_text(reproduced.page_with(rows), encoding="utf-8")
            for name in of:
                shutil.copyfile(Path(folder, PICTURES[name].file), DOCS / name)
