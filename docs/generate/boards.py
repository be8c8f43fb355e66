"""The tables of docs/boards.md: the boards, their pins, and what each design takes on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from itertools import groupby

from microzone.boards.board import BOARDS, Board
from microzone.boards.table import RESOURCES

__all__ = [
    "BOARD_TABLES",
    "boards_table",
    "cfpc_on_icebreaker",
    "cfpc_resources_table",
    "pins_table",
    "resources_table",
    "what_is_left",
]

_MEANING = {
    "cs n": "CS of the RHD chip",
    "sclk": "SCLK",
    "mosi": "MOSI",
    "miso": "MISO",
    "cathodic": "cathodic phase",
    "anodic": "anodic phase",
    "stimulate": "enable of the stimulator",
    "emergency stop": "switch to ground, opens to stop",
    "running": "frames are being taken",
    "armed": "stimulation is armed",
    "fault": "a fault is latched",
    "rx": "from the host",
    "tx": "to the host",
}

_KINDS = (("logic cells", "logic_cells"), ("DSPs", "dsps"), ("block RAMs", "rams"))


def boards_table() -> str:
    """Boards, clocks and how they are flashed."""
    rows = [
        [
            f"`{board.name}`", board.title, f"{board.clock_hz / 1e6:g} MHz", f"{board.baud / 1e6:g} Mbaud",
            ", ".join(f"`{command[0]}`" for command in board.programmers),
        ]
        for board in BOARDS.values()
    ]  # fmt: skip
    return _table(["name", "board, FPGA", "clock", "UART", "`--flash` by"], rows)


def pins_table(board: Board) -> str:
    """Every wire of a board."""
    rows = []
    for wire in board.wires():
        last = wire.signal if wire.signal in _MEANING else wire.signal.removeprefix("rhd ")
        key = next(name for name in _MEANING if last == name or last.endswith(f" {name}"))
        place = board.label(wire.place) if wire.place else "on the board"
        direction = {"i": "in", "o": "out"}[wire.direction]
        rows.append([wire.signal, direction, place, wire.pin, _MEANING[key]])
    return _table(["signal", "direction", "connector", "FPGA pin", "what"], rows)


def resources_table() -> str:
    """What the complete chip and the largest one take, as built last."""
    return _resources(
        "chip",
        {"chip": None, "microcircuits": "{circuits}", "electrodes on RHD chips": "{electrodes} on {chips}"},
    )


def what_is_left() -> str:
    """How full the smallest FPGA is with the complete chip, of each kind of cell: the fullest is a limit."""
    built = json.loads(RESOURCES.read_text(encoding="utf-8"))["chip"]["icebreaker"]["complete"]
    used = [f"{_share(*built[kind])} of its {name}" for name, kind in _KINDS]
    first = max(_KINDS, key=lambda kind: built[kind[1]][0] / built[kind[1]][1])[0]
    return (
        f"On the smallest board ({BOARDS['icebreaker'].title}) it takes {', '.join(used[:-1])}, and "
        f"{used[-1]}.\nThe {first} are the limit, whatever else is free: a block that needs more of them has "
        f"no room beside it. Fmax is {built['fmax_hz'] / 1e6:.1f} MHz, its clock "
        f"{built['clock_hz'] / 1e6:g} MHz.\n"
    )


def cfpc_resources_table() -> str:
    """What the CFPC filter takes, as built last."""
    return _resources("cfpc", {"bases": None, "synapses": "{bases}", "cycles a step": "{cycles_per_step}"})


def cfpc_on_icebreaker() -> str:
    """What it takes on the smallest FPGA."""
    built = json.loads(RESOURCES.read_text(encoding="utf-8"))["cfpc"]["icebreaker"]["shifted"]
    used = [f"{_share(*built[kind])} of the {name}" for name, kind in _KINDS]
    return (
        f"On the iCEBreaker it takes {used[0]}, {used[1]} and {used[2]}; a step takes "
        f"{built['cycles_per_step']} clock cycles.\n"
    )


def _resources(design: str, columns: dict[str, str | None]) -> str:
    """The builds of a design: `columns` are its own, each as a format of its numbers, None for the size."""
    rows = []
    for name, sizes in json.loads(RESOURCES.read_text(encoding="utf-8"))[design].items():
        for size, built in sizes.items():
            own = [size if form is None else form.format(**built) for form in columns.values()]
            rows.append(
                [
                    f"`{name}`", *own, str(built["luts"]), str(built["flip_flops"]),
                    *(_share(*built[kind]) for kind in ("logic_cells", "dsps", "rams")),
                    f"{built['fmax_hz'] / 1e6:.1f} of {built['clock_hz'] / 1e6:g} MHz", str(built["seed"]),
                ]
            )  # fmt: skip
    common = ["LUTs", "flip-flops", "logic cells", "DSPs", "RAMs", "Fmax of clock", "seed"]
    return _table(["board", *columns, *common], rows)


def _share(used: int, available: int) -> str:
    return f"{used} of {available} ({used / available:.0%})"


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _wired() -> dict[str, Board]:
    """One board of each wiring: the sizes of an FPGA share theirs."""
    return {
        key: next(group)
        for key, group in groupby(BOARDS.values(), key=lambda board: board.name.partition("-")[0])
    }


BOARD_TABLES: Mapping[str, Callable[[], str]] = {
    "boards": boards_table,
    "resources": resources_table,
    "what-is-left": what_is_left,
    "cfpc-resources": cfpc_resources_table,
    "cfpc-on-icebreaker": cfpc_on_icebreaker,
    **{f"pins-{name}": partial(pins_table, board) for name, board in _wired().items()},
}
"""What a marker can name."""
