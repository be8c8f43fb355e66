"""GTKWave save files for the waves of ``replay.sv``: signals by process, expected beside actual."""

from __future__ import annotations

import io
from pathlib import Path

from vcd.gtkw import GTKWColor, GTKWSave

from ...golden_model.files import atomic_write
from ...golden_model.microcircuit import SIGNALS

__all__ = ["write_save_file"]

_PROCESSES = {
    1: "trace",
    2: "scaling",
    3: "threshold and CR",
    4: "inhibitory pulse",
    5: "delayed inhibition",
    6: "gate",
    7: "plasticity trace",
    8: "coincidence detection: w",
}
_ZOOM = -6.0
"""GTKWave's logarithmic zoom: a few steps side by side."""
_CONTEXT = ("clk", "step", "tick", "events_valid", "events_payload", "responses_valid", "mismatch")


def write_save_file(vcd: Path) -> Path:
    """Write ``NAME.gtkw`` beside ``NAME.vcd``.

    Parameters
    ----------
    vcd : Path
        Waves of ``replay.sv``, recorded with expected values.

    Returns
    -------
    Path
        The save file: the bench's own signals, then a group for each of the processes 1 to 8 with each
        signal of the core and, under it, what the fixed-point model expects.
    """
    names = _declared(vcd)
    path = vcd.with_suffix(".gtkw")
    with atomic_write(path) as binary:
        text = io.StringIO()
        save = GTKWSave(text)
        save.dumpfile(str(vcd.resolve()))
        save.savefile(str(path.resolve()))
        save.size(1400, 900)
        save.zoom_markers(_ZOOM)
        with save.group("bench"):
            for name in _CONTEXT:
                save.trace(names[name], datafmt="dec" if name == "step" else "hex")
        for process, title in _PROCESSES.items():
            with save.group(f"{process} {title}"):
                for signal in (name for name, number in SIGNALS.items() if number == process):
                    fmt = "dec" if signal == "age" else "hex"
                    save.trace(names[f"actual_{signal}"], alias=signal, datafmt=fmt, color=GTKWColor.normal)
                    save.trace(
                        names[f"expected_{signal}"],
                        alias=f"{signal}, expected",
                        datafmt=fmt,
                        color=GTKWColor.blue,
                    )
        binary.write(text.getvalue().encode())
    return path


def _declared(vcd: Path) -> dict[str, str]:
    """Full name, with range, of each variable of the scope ``replay`` itself.

    By hand: pyvcd's reader refuses names with a ``$``, which Yosys gives to the nets that have none.
    """
    names: dict[str, str] = {}
    scopes: list[str] = []
    with vcd.open(encoding="ascii", errors="replace") as file:
        for line in file:
            match line.split():
                case ["$scope", _, name, *_]:
                    scopes.append(name)
                case ["$upscope", *_]:
                    scopes.pop()
                case ["$var", _, _, _, name, *bits, "$end"] if scopes[-1] == "replay":
                    names[name] = ".".join([*scopes, name]) + "".join(bits)
                case ["$enddefinitions", *_]:
                    break
    return names
