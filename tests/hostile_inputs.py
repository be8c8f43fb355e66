"""Hostile inputs: what is wrong with a file or a number, for each verb that reads one, and what has to happen.

A case is made from a seed alone. `python hostile_inputs.py FIRST LAST` runs cases in one process, one after the
other, and prints a line of JSON for each: status, messages, seconds, peak memory.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import resource
import socket
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SECONDS, BYTES = 20.0, 1 << 30
"""What a case may take."""
REFUSED, GOES, EITHER = "refused", "goes", "either"
"""Status 2 with one line; status 0; or one of the two, or a verdict with status 1. Never a traceback."""
FULL_SEED = 20261130
_GIB = 1 << 30


@dataclass(frozen=True)
class Case:
    """One call of the command line in an empty folder.

    Attributes
    ----------
    name : str
    prepare : callable
        Makes what is needed in the folder that is the current one; returns the arguments.
    expected : str
        REFUSED, GOES or EITHER.
    """

    name: str
    prepare: Callable[[], list[str]]
    expected: str


# --- good files -------------------------------------------------------------------------------


def events(path: str = "good.npz", **entries: Any) -> str:
    whole: dict[str, Any] = {
        "pn": np.arange(500, 29000, 1500), "io": np.arange(650, 29000, 1500), "n_steps": 30000,
        "cs": np.arange(490, 29000, 1500), "us": np.arange(640, 29000, 1500),
    }  # fmt: skip
    whole |= entries
    np.savez(path, **{name: value for name, value in whole.items() if value is not None})
    return path


def training(path: str = "training.npz") -> str:
    """Trials, and 30 s of spontaneous activity after them."""
    spontaneous = np.arange(30500, 60000, 900)
    return events(
        path, n_steps=60000, us=np.arange(640, 29200, 1500), spontaneous_start=30000,
        pn=np.concatenate([np.arange(500, 29000, 1500), spontaneous + 100]),
        io=np.concatenate([np.arange(650, 29200, 1500), spontaneous]),
    )  # fmt: skip


def result(path: str = "result.npz") -> str:
    np.savez(path, cr=np.array([600]), w=np.full(30000, 0.5), config=np.array(""))
    return path


def recording(path: str = "good.mat") -> str:
    import scipy.io

    rng = np.random.default_rng(1)
    samples = rng.normal(0, 200, 50000)
    samples[::5000] += 6000
    scipy.io.savemat(path, {"HIGH": samples.astype(np.int16)})
    return path


# --- names and kinds of files -----------------------------------------------------------------


def _fifo(path: str) -> None:
    os.mkfifo(path)


def _socket(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)


def _ring(path: str) -> None:
    Path(path).symlink_to(path)


def _sparse(path: str) -> None:
    with Path(path).open("wb") as file:
        file.truncate(3 * _GIB)


def _content(content: bytes) -> Callable[[str], None]:
    return lambda path: Path(path).write_bytes(content) and None  # type: ignore[func-returns-value]


FILES: dict[str, Callable[[str], None]] = {
    "missing": lambda path: None,
    "folder": lambda path: Path(path).mkdir(),
    "pipe": _fifo,
    "socket": _socket,
    "ring of links": _ring,
    "link to nothing": lambda path: Path(path).symlink_to("nothing"),
    "link to a device": lambda path: Path(path).symlink_to("/dev/zero"),
    "link to a terminal": lambda path: Path(path).symlink_to("/dev/tty"),
    "3 GiB of nothing": _sparse,
    "random bytes": _content(random.Random(1).randbytes(4096)),
    "bytes 0": _content(bytes(4096)),
    "half a character": _content(b'[time]\nstep_s = "\xff\xfe"\n'),
    "UTF-16": _content("[time]\n".encode("utf-16")),
    "escapes": _content(b"\x1b[2J\x1b]0;title\x07"),
    "a page of HTML": _content(b"<!DOCTYPE html><html><body>404</body></html>"),
}
"""What stands in the place of a file of any kind, and is none."""
PATHS = {
    "device": "/dev/zero",
    "endless device": "/dev/urandom",
    "full device": "/dev/full",
    "NUL in the name": "a\0b{}",
    "half a character in the name": "\udcff\udcfe{}",
    "no character in the name": "\ud800{}",
    "long name": "x" * 300 + "{}",
    "long path": "x/" * 2500 + "{}",
    "escape in the name": "\x1b[31mred{}",
    "line break in the name": "a\nb{}",
    "markup in the name": "o[red]x[/]{}",
    "broken markup in the name": "run[/2026]{}",
    "formula in the name": "a$\\foo${}",
    "option in the name": "./--config{}",
    "empty name": "",
    "memory of a process": "/proc/self/mem",
    "folder of a process": "/proc/self/fd",
}
"""Paths of no file, by what is wrong with them."""


# --- TOML -------------------------------------------------------------------------------------

TOML: dict[str, str] = {
    "deep lists": "a = " + "[" * 50_000,
    "deep closed lists": "a = " + "[" * 900 + "]" * 900,
    "less deep lists": "a = " + "[" * 60 + "]" * 60,
    "deep tables": "a = " + "{a = " * 20_000,
    "deep closed tables": "a = " + "{a = " * 200 + "1" + "}" * 200,
    "long key": ".".join("a" * 200_000) + " = 1",
    "long header": "[" + ".".join("a" * 200_000) + "]",
    "deep headers": "\n".join("[" + ".".join(["a"] * 60) + f".x{i}]" for i in range(3000)),
    "integer of thousands of digits": "[time]\nstep_s = " + "9" * 5000,
    "integer of hundreds of digits": "[time]\nclock_hz = " + "9" * 400,
    "hexadecimal integer": "[time]\nclock_hz = 0x" + "f" * 10_000,
    "integer of 65 bits": f"[time]\nclock_hz = {2**64}",
    "number beyond all": "[time]\nclock_hz = 1e400",
    "date": "[time]\nclock_hz = 1979-05-27T07:32:00Z",
    "year 0": "[time]\nclock_hz = 0000-01-01",
    "long text": f'[time]\nclock_hz = "{"x" * 900_000}"',
    "2 MiB": "# " + "x" * (2 << 20),
    "many keys": "[time]\n" + "\n".join(f"a{i} = 1" for i in range(50_000)),
    "many sections": "\n".join(f"[a{i}]" for i in range(50_000)),
    "list for a section": "time = [1, 2]",
    "number for a section": "time = 1",
    "list of sections": "[[time]]\nstep_s = 0.002",
    "twice": "[time]\n[time]",
    "unclosed text": '[time]\nstep_s = """' + "x" * 100_000,
    "escapes in a key": '[time]\n"\\u001b[2J" = 1',
    "surrogate": '[time]\n"\\ud800" = 1',
    "NUL in a text": '[time]\nstep_s = "\\u0000"',
    "key with a line break": '"a\\nb" = 1',
    "empty key": '"" = 1',
    "foreign": '[tool.poetry]\nname = "x"',
    "session of another program": 'model = "foo"',
}
"""Texts that are no configuration and no specification."""
NUMBERS = (
    "1e300", "-1e300", "5e-324", "-5e-324", "1e-300", "1e18", "9223372036854775807", "-9223372036854775808",
    "1e9", "0", "0.0", "-0.0", "-1", "1e-9", "inf", "-inf", "nan", "true", '"x"', "[]", "{}", "[1e300, 5e-324]",
    "[5e-324, 1e300]", '"UQ(0,1)"', '"SQ(2,1000000)"', '"UQ(99999999999999999999,1)"', "65536", "1e5",
)  # fmt: skip
"""For each field of a configuration."""

SPEC = """sessions = {sessions}
[[experiment]]
name = "{name}"
[[experiment.axis]]
fields = {fields}
values = {values}
{more}"""


def spec(**given: str) -> str:
    usual = {
        "sessions": "2", "name": "x", "fields": '["formats.weight"]', "values": '["UQ(0,24)"]',
        "more": "[experiment.protocol]\npaired = 2\ncs_alone = 2",
    }  # fmt: skip
    return SPEC.format(**(usual | given))


SPECS: dict[str, tuple[str, str]] = {
    "sessions without end": (spec(sessions="1000000000"), EITHER),
    "sessions of thousands of digits": (spec(sessions="9" * 5000), REFUSED),
    "sessions 1e300": (spec(sessions="1e300"), EITHER),
    "sessions -1": (spec(sessions="-1"), EITHER),
    "points without end": (
        spec(
            fields='["protocol.pn_tdr"]',
            values=str([i / 1e3 for i in range(999)]),
            more="".join(
                f'[[experiment.axis]]\nfields = ["protocol.{name}"]\nvalues = {[i / 1e3 for i in range(999)]}\n'
                for name in ("io_tdr", "pn_far_hz", "io_far_hz")
            ),
        ),
        REFUSED,
    ),
    "values without end": (spec(values=str(["UQ(0,24)"] * 20_000)), REFUSED),
    "trials without end": (spec(more="[experiment.protocol]\npaired = 1000000000"), REFUSED),
    "trials 1e300": (spec(more="[experiment.protocol]\npaired = 1e300"), REFUSED),
    "interval 1e300": (spec(more="[experiment.protocol]\niti_s = [1.0, 1e300]"), REFUSED),
    "interval 5e-324": (spec(more="[experiment.protocol]\niti_s = [5e-324, 1.0]"), REFUSED),
    "rate 1e300": (spec(more="[experiment.protocol]\nio_far_hz = 1e300"), EITHER),
    "drift 1e300": (spec(more="[experiment.protocol]\nio_drift_hz = [1e300, 1e300, 1e300]"), EITHER),
    "no such field": (spec(fields='["formats.nope"]'), REFUSED),
    "field of thousands of parts": (spec(fields='["' + "a." * 50_000 + '"]'), REFUSED),
    "fields without end": (spec(fields=str(["formats.weight"] * 5000)), REFUSED),
    "name with a path": (spec(name="../../x"), REFUSED),
    "name with markup": (spec(name="[red]"), REFUSED),
    "value 1e300": (spec(fields='["threshold.level"]', values="[1e300]"), EITHER),
    "value of a list": (spec(values="[[[[[1]]]]]"), REFUSED),
    "format without end": (spec(values='["UQ(0,99999999999999999999999)"]'), EITHER),
    "long value": (spec(values='["' + "x" * 500_000 + '"]'), REFUSED),
}
"""Specifications of sweeps, and what has to become of them."""


# --- archives and arrays ----------------------------------------------------------------------


def bomb(size: int, level: int = 9) -> bytes:
    """Raw deflate of `size` bytes of 0, made at once: a packed MiB, over and over."""
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    piece = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return piece * (size >> 20) + b"\x03\x00"


def npy(shape: str, kind: str = "'<i8'", *, version: int = 1, more: str = "") -> bytes:
    text = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, {more}}}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    length = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + text


def archive(path: str, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)


def packed_archive(path: str, name: str, packed: bytes, size: int, claimed: int | None = None) -> None:
    """A zip file with one member of raw deflate, `size` long, said to be `claimed`."""
    claimed = min(size if claimed is None else claimed, 0xFFFFFFF0)
    encoded = name.encode()
    facts = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0, 0, len(packed), claimed, len(encoded), 0)
    local = b"PK\x03\x04" + facts + encoded + packed
    entry = b"PK\x01\x02" + struct.pack("<H", 20) + facts + struct.pack("<HHHII", 0, 0, 0, 0, 0) + encoded
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(entry), len(local), 0)
    Path(path).write_bytes(local + entry + end)


def _bomb_npz(entry: str, count: int, kind: str = "'<i8'") -> Callable[[str], None]:
    def make(path: str) -> None:
        head = zlib.compressobj(9, zlib.DEFLATED, -15)
        start = head.compress(npy(f"({count},)", kind)) + head.flush(zlib.Z_FULL_FLUSH)
        packed_archive(path, f"{entry}.npy", start + bomb(8 * count), 8 * count + 128)

    return make


def _long_list(path: str) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for i in range(20_000):
            file.writestr(f"{'x' * 60}{i}.npy", b"")


def _whole_events() -> dict[str, bytes]:
    found = {}
    for name, value in {"pn": np.arange(5), "io": np.arange(5), "n_steps": np.int64(9)}.items():
        file = io.BytesIO()
        np.save(file, value)
        found[f"{name}.npy"] = file.getvalue()
    return found


def _with(**members: bytes) -> Callable[[str], None]:
    def make(path: str) -> None:
        archive(
            path, _whole_events() | {name.replace("_npy", ".npy"): text for name, text in members.items()}
        )

    return make


def _encrypted(path: str) -> None:
    archive(path, _whole_events())
    content = bytearray(Path(path).read_bytes())
    for start, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := content.find(start, at + 1)) >= 0:
            content[at + flags] |= 1
    Path(path).write_bytes(content)


def _cut(share: float) -> Callable[[str], None]:
    def make(path: str) -> None:
        archive(path, _whole_events())
        content = Path(path).read_bytes()
        Path(path).write_bytes(content[: int(share * len(content))])

    return make


def _object_array(path: str) -> None:
    np.savez(path, pn=np.array([1, None], object), io=np.arange(2), n_steps=9)


NPZ: dict[str, Callable[[str], None]] = {
    **{f"bomb in {entry}": _bomb_npz(entry, 1 << 29) for entry in ("pn", "io", "cs", "samples", "pn_raw", "w")},
    "bomb of texts": _bomb_npz("pn", 1 << 29, "'<U2'"),
    "bomb behind a small header": lambda path: packed_archive(path, "pn.npy", bomb(3 * _GIB), 3 * _GIB),
    "lie of a length": lambda path: packed_archive(path, "pn.npy", bomb(_GIB), _GIB, 100),
    "array without end": _with(pn_npy=npy("(10000000000000,)")),
    "array of 2**62": _with(pn_npy=npy(f"({2**62},)")),
    "array of 2**100": _with(pn_npy=npy(f"({2**100},)")),
    "array of -1": _with(pn_npy=npy("(-1,)")),
    "array of many dimensions": _with(pn_npy=npy("(" + "1," * 2000 + ")")),
    "array of 2**62 times 0": _with(pn_npy=npy(f"({2**62}, 0)")),
    "array of nothings": _with(pn_npy=npy("(1000000000000,)", "'|V0'")),
    "array of long texts": _with(pn_npy=npy("(1,)", "'<U1000000000'")),
    "array of objects": _object_array,
    "array of pickles": _with(pn_npy=npy("(1,)", "'|O'") + b"cos\nsystem\n(S'true'\ntR."),
    "header of lists": _with(pn_npy=npy("(1,)", "[" * 4000)),
    "header without end": _with(pn_npy=b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little")),
    "header bomb": lambda path: packed_archive(path, "pn.npy", bomb(3 * _GIB), 3 * _GIB),
    "header of code": _with(pn_npy=npy("__import__('os').getcwd()")),
    "version 9": _with(pn_npy=b"\x93NUMPY\x09\x00" + bytes(200)),
    "structures": _with(pn_npy=npy("(1,)", "[('a', '<i8'), ('b', '<i8')]") + bytes(16)),
    "no array": _with(pn_npy=b"text"),
    "empty member": _with(pn_npy=b""),
    "member without its ending": _with(pn=b"text"),
    "longer than its array": _with(pn_npy=npy("(1,)") + bytes(1000)),
    "encrypted": _encrypted,
    "bzip2": lambda path: archive(path, {"pn.npy": npy("(9,)") + bytes(72)}, zipfile.ZIP_BZIP2),
    "lzma bomb": lambda path: archive(path, {"pn.npy": npy("(9999999,)") + bytes(8 * 9999999)}, zipfile.ZIP_LZMA),
    "list of contents without end": _long_list,
    "empty archive": lambda path: archive(path, {}),
    "only a foreign member": lambda path: archive(path, {"../../x": b"x"}),
    **{f"cut at {share:.0%}": _cut(share) for share in (0.1, 0.5, 0.8, 0.95, 0.99)},
}  # fmt: skip
"""Archives that are no file of any kind."""
ENTRIES: dict[str, dict[str, Any]] = {
    "n_steps 0": {"n_steps": 0},
    "n_steps -1": {"n_steps": -1},
    "n_steps 2**63": {"n_steps": np.uint64(2**63)},
    "n_steps 2**62": {"n_steps": 2**62},
    "n_steps 1e300": {"n_steps": 1e300},
    "n_steps nan": {"n_steps": np.nan},
    "n_steps a text": {"n_steps": "9" * 5000},
    "n_steps missing": {"n_steps": None},
    "pn missing": {"pn": None},
    "pn of 1e300": {"pn": np.array([1e300])},
    "pn of nan": {"pn": np.array([np.nan])},
    "pn of -1": {"pn": np.array([-1])},
    "pn of 2**64 - 1": {"pn": np.array([2**64 - 1], np.uint64)},
    "pn descends": {"pn": np.array([9, 8])},
    "pn complex": {"pn": np.array([1j])},
    "pn of dates": {"pn": np.array(["2020-01-01"], "datetime64[D]")},
    "pn of texts": {"pn": np.array(["\x1b[2J"])},
    "pn of three dimensions": {"pn": np.zeros((1, 1, 1), int)},
    "blanked without end": {"blanked": np.array([[0, 2**62]])},
    "spontaneous_start 2**62": {"spontaneous_start": 2**62},
    "cs beyond": {"cs": np.array([2**40])},
}
"""Entries of an events file that cannot be."""


# --- MATLAB -----------------------------------------------------------------------------------


def matlab(*elements: bytes, order: bytes = b"IM", version: int = 0x0100) -> bytes:
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", version) + order
    return head + b"".join(elements)


def element(kind: int, content: bytes, length: int | None = None) -> bytes:
    size = len(content) if length is None else length
    return struct.pack("<II", kind, size) + content + bytes(-len(content) % 8)


def matrix(
    content: bytes,
    *,
    dims: tuple[int, ...] = (1, 5),
    kind: int = 6,
    name: bytes = b"HIGH",
    said: int | None = None,
) -> bytes:
    flags = element(6, struct.pack("<II", kind, 0))
    shape = element(5, struct.pack(f"<{len(dims)}i", *dims))
    body = flags + shape + element(1, name) + element(9, content, said)
    return element(14, body)


def packed(content: bytes) -> bytes:
    """As an element of zlib's format."""
    squeezed = zlib.compress(content)
    return struct.pack("<II", 15, len(squeezed)) + squeezed


def zlib_bomb(start: bytes, size: int) -> bytes:
    """Of zlib's format: a beginning, then `size` bytes of 0."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH) + bomb(size)
    squeezed = b"\x78\x9c" + body + bytes(4)
    return struct.pack("<II", 15, len(squeezed)) + squeezed


def _matrix_start(dims: tuple[int, ...], size: int) -> bytes:
    whole = matrix(b"", dims=dims, said=min(size, 0xFFFFFFF0))
    return struct.pack("<II", 14, min(size + 64, 0xFFFFFFF0)) + whole[8:]


MAT: dict[str, bytes] = {
    "bomb": matlab(zlib_bomb(_matrix_start((1, _GIB // 4), 2 * _GIB), 2 * _GIB)),
    "bomb behind small dimensions": matlab(zlib_bomb(_matrix_start((1, 5), 3 * _GIB), 3 * _GIB)),
    "bombs of many elements": matlab(*[zlib_bomb(_matrix_start((1, 5), 1 << 26), 1 << 26)] * 40),
    "packed in each other": matlab(packed(packed(packed(matrix(bytes(40)))))),
    "cells without end": matlab(matrix(b"", dims=(1, 2**31 - 1), kind=1)),
    "cells in each other": matlab(element(14, b"".join([element(6, struct.pack("<II", 1, 0))] * 2000))),
    "dimensions without end": matlab(matrix(bytes(40), dims=(2**31 - 1, 2**31 - 1))),
    "dimensions below 0": matlab(matrix(bytes(40), dims=(-1, 5))),
    "dimensions of nothing": matlab(matrix(bytes(40), dims=())),
    "length without end": matlab(matrix(bytes(40), said=0xFFFFFFFF)),
    "element without end": matlab(element(14, bytes(64), 0xFFFFFFFF)),
    "many variables": matlab(*[matrix(bytes(8), dims=(1, 1), name=b"a%d" % i) for i in range(20_000)]),
    "name twice": matlab(matrix(bytes(40)), matrix(bytes(40))),
    "name of nothing": matlab(matrix(bytes(40), name=b"")),
    "name of escapes": matlab(matrix(bytes(40), name=b"\x1b[2J[red]")),
    "version 7.3": matlab(version=0x0200),
    "version 9": matlab(version=0x0900),
    "other order": matlab(matrix(bytes(40)), order=b"MI"),
    "no order": matlab(matrix(bytes(40)), order=b"xx"),
    "only a header": matlab(),
    "half a header": matlab()[:64],
    "4: without end": struct.pack("<IIIII", 0, 2**31 - 1, 2**31 - 1, 0, 5) + b"HIGH\0",
    "4: long name": struct.pack("<IIIII", 0, 1, 5, 0, 2**31 - 1) + b"HIGH\0" + bytes(40),
    "4: sparse without end": struct.pack("<IIIII", 2, 4, 3, 0, 5) + b"HIGH\0" + struct.pack("<12d", *[1e9] * 12),
    "4: kind 9999": struct.pack("<IIIII", 9999, 1, 5, 0, 5) + b"HIGH\0" + bytes(40),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(1000),
}  # fmt: skip
"""Recordings that are none."""


def _samples(values: Any) -> Callable[[str], None]:
    def make(path: str) -> None:
        import scipy.io

        scipy.io.savemat(path, {"HIGH": values})

    return make


SAMPLES: dict[str, Callable[[str], None]] = {
    "no samples": _samples(np.zeros(0)),
    "one sample": _samples(np.zeros(1, np.int16)),
    "not finite": _samples(np.array([np.nan, np.inf, -np.inf] * 100)),
    "1e300": _samples(np.full(1000, 1e300)),
    "5e-324": _samples(np.full(1000, 5e-324)),
    "complex": _samples(np.full(1000, 1j)),
    "texts": _samples("x" * 1000),
    "cells": _samples(np.array([np.zeros(3), "x"], object)),
    "a matrix": _samples(np.zeros((30, 30))),
    "64 bits": _samples(np.full(1000, 2**62)),
    "unsigned 64 bits": _samples(np.full(1000, 2**64 - 1, np.uint64)),
    "sparse": _samples(__import__("scipy.sparse").sparse.csc_matrix((5, 5))),
}
"""Recordings whose channel cannot be used as it is."""


# --- arrays for CFPC --------------------------------------------------------------------------

NPY: dict[str, bytes] = {
    "without end": npy("(10000000000000,)", "'<f8'"),
    "of 2**100": npy(f"({2**100}, 3)", "'<f8'"),
    "of -1": npy("(-1, 20)", "'<f8'"),
    "cut": npy("(2500, 20)", "'<f8'") + bytes(100),
    "objects": npy("(1,)", "'|O'") + b"cos\nsystem\n(S'true'\ntR.",
    "texts": npy("(2,)", "'<U1'") + bytes(8),
    "not finite": npy("(2500,)", "'<f8'") + struct.pack("<d", float("nan")) * 2500,
    "1e300": npy("(2500,)", "'<f8'") + struct.pack("<d", 1e300) * 2500,
    "5e-324": npy("(2500,)", "'<f8'") + struct.pack("<d", 5e-324) * 2500,
    "three dimensions": npy("(1, 1, 1)", "'<f8'") + bytes(8),
    "no dimension": npy("()", "'<f8'") + bytes(8),
    "header of lists": npy("(1,)", "[" * 4000),
    "header without end": b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little"),
    "nothings": npy("(1000000000000,)", "'|V0'"),
}

# --- JSON -------------------------------------------------------------------------------------

JSON: dict[str, str] = {
    "deep": "[" * 100_000,
    "deep and closed": "[" * 500 + "]" * 500,
    "integer of thousands of digits": "9" * 5000,
    "a list": "[1, 2]",
    "a number": "NaN",
    "half": '{"spec": {',
    "nothing": "",
    "another": '{"spec": {"sessions": 3}, "config": {"\\u001b[2J": 1}}',
    "computed from nobody": '{"computed_from": {"sessions": {"x": 1}}}',
    "computed from a list": '{"computed_from": [1]}',
    "20 MiB": '"' + "x" * (20 << 20) + '"',
    "surrogate": '{"\\ud800": 1}',
}
"""For the records of a sweep's and an inference's folder, and of any run's."""


# --- verbs and where they read ----------------------------------------------------------------

_LITTLE = ["--sessions", "2", "--no-synthesis", "--workers", "0"]
_NPE = ["infer", "--method", "npe", "--simulations", "500", "--workers", "0", "--out", "o"]
SLOTS: dict[str, tuple[str, Callable[[str], list[str]]]] = {
    "run": ("npz", lambda x: ["run", x, "--model", "float", "--out", "r.npz"]),
    "compare": ("npz", lambda x: ["compare", x, "--out", "o", "--simulator", "cxxrtl"]),
    "calibrate": ("npz", lambda x: ["calibrate", x, "--out", "c.toml"]),
    "infer seen": ("npz", lambda x: [*_NPE, "--seen", x, result()]),
    "infer result": ("npz", lambda x: [*_NPE, "--seen", events(), x]),
    "detect": ("mat", lambda x: ["detect", x, "--channel", "HIGH", "--rate", "25000", "--out", "e.npz"]),
    "compare recording": (
        "mat", lambda x: ["compare", x, "--channel", "HIGH", "--rate", "25000", "--simulator", "cxxrtl", "--out", "o"],
    ),
    "demo recording": ("mat", lambda x: ["demo", "--io-recording", x, "--simulator", "cxxrtl", "--out", "o"]),
    "session recording": ("mat", lambda x: ["session", "--io-recording", x, "--out", "o"]),
    "run config": (
        "toml", lambda x: ["run", events(), "--config", x, "--model", "float", "--out", "r.npz"],
    ),
    "detect config": (
        "toml",
        lambda x: ["detect", recording(), "--config", x, "--channel", "HIGH", "--rate", "25000", "--out", "e.npz"],
    ),
    "calibrate config": ("toml", lambda x: ["calibrate", training(), "--config", x, "--out", "c.toml"]),
    "verilog config": ("toml", lambda x: ["verilog", "--config", x, "--out", "v.sv"]),
    "build config": ("toml", lambda x: ["build", "icebreaker", "--config", x, "--out", "o"]),
    "session config": ("toml", lambda x: ["session", "--config", x, "--paired", "1", "--out", "o"]),
    "demo config": ("toml", lambda x: ["demo", "--config", x, "--simulator", "cxxrtl", "--out", "o"]),
    "compare config": (
        "toml", lambda x: ["compare", events(), "--config", x, "--simulator", "cxxrtl", "--out", "o"],
    ),
    "sweep config": ("toml", lambda x: ["sweep", "--config", x, *_LITTLE, "--out", "o"]),
    "reproduce config": ("toml", lambda x: ["reproduce", "4", "--config", x, "--no-rtl", "--out", "o"]),
    "infer config": (
        "toml", lambda x: ["infer", "--want", "well_timed=0.4", "--config", x, "--workers", "0", "--out", "o"],
    ),
    "infer-compare config": ("toml", lambda x: ["infer-compare", "--config", x, "--workers", "0", "--out", "o"]),
    "pursuit config": ("cfpc", lambda x: ["cfpc", "pursuit", "--config", x, "--trials", "1", "--model", "float"]),
    "blink config": ("cfpc", lambda x: ["cfpc", "blink", "--config", x, "--trials", "1", "--model", "float"]),
    "robustness config": ("cfpc", lambda x: ["cfpc", "robustness", "--config", x, "--trials", "1"]),
    "word-lengths config": ("cfpc", lambda x: ["cfpc", "word-lengths", "--config", x, "--trials", "1"]),
    "host load": ("toml", lambda x: ["host", "load", x, "--simulated"]),
    "sweep": ("spec", lambda x: ["sweep", x, *_LITTLE, "--out", "o"]),
    "bases": ("npy", lambda x: ["cfpc", "pursuit", "--bases", x, "--trials", "1", "--model", "float"]),
    "reference": ("npy", lambda x: ["cfpc", "pursuit", "--reference", x, "--trials", "1", "--model", "float"]),
}  # fmt: skip
"""Each verb that reads a file: what kind of file, and its arguments with the path of one."""
RECORDS = {
    "sweep.json": ["sweep", *_LITTLE, "--out", "o"],
    "infer.json": [
        "infer",
        "--want",
        "well_timed=0.4",
        "--simulations",
        "500",
        "--workers",
        "0",
        "--out",
        "o",
    ],
    "microzone-run.json": ["cfpc", "pursuit", "--trials", "1", "--model", "float", "--out", "o"],
}
"""Files that a verb looks for in the folder that it is given."""
_ENDING = {"npz": ".npz", "mat": ".mat", "toml": ".toml", "cfpc": ".toml", "spec": ".toml", "npy": ".npy"}
HEAVY = {
    "compare", "compare recording", "demo recording", "session recording", "build config", "session config",
    "demo config", "compare config", "sweep config", "reproduce config", "infer config", "infer-compare config",
    "verilog config", "infer seen", "infer result", "host load", "robustness config", "word-lengths config",
}  # fmt: skip
"""Those that work long on a good file: they get only what is refused."""


def _file(slot: str, make: Callable[[str], None]) -> Callable[[], list[str]]:
    kind, arguments = SLOTS[slot]

    def prepare() -> list[str]:
        path = f"bad{_ENDING[kind]}"
        make(path)
        return arguments(path)

    return prepare


def _path(slot: str, pattern: str) -> Callable[[], list[str]]:
    kind, arguments = SLOTS[slot]
    return lambda: arguments(pattern.format(_ENDING[kind]) if "{}" in pattern else pattern)


def _text(slot: str, text: str) -> Callable[[], list[str]]:
    return _file(slot, lambda path: Path(path).write_text(text, encoding="utf-8") and None)  # type: ignore[func-returns-value]


def _bytes(slot: str, content: bytes) -> Callable[[], list[str]]:
    return _file(slot, _content(content))


def _events(slot: str, entries: dict[str, Any]) -> Callable[[], list[str]]:
    return _file(slot, lambda path: events(path, **entries) and None)  # type: ignore[func-returns-value]


def _record(name: str, text: str) -> Callable[[], list[str]]:
    def prepare() -> list[str]:
        Path("o").mkdir()
        Path("o", name).write_text(text, encoding="utf-8")
        return RECORDS[name]

    return prepare


# --- numbers on the command line --------------------------------------------------------------

TEXTS = (
    "1e300", "-1e300", "5e-324", "nan", "inf", "-inf", "-1", "1000000000", "1000000000000000000000",
    "9" * 5000, "0x10", "", " ", "½", "1_", "\x1b[2J", "[red]", "true", "1e309", "0",
)  # fmt: skip
"""For each option that takes a number."""
STUBBED = (
    "demo",
    "build",
    "infer",
    "infer-compare",
    "reproduce",
    "sim",
    "sweep",
    "session",
    "compare",
    "host",
)
"""Verbs whose work is left out with these numbers: whether they begin it is what counts."""
USUAL: dict[str, Callable[[], list[str]]] = {
    "demo": lambda: ["demo", "--simulator", "cxxrtl"],
    "run": lambda: ["run", events(), "--out", "r.npz"],
    "build": lambda: ["build", "icebreaker"],
    "compare": lambda: ["compare", recording(), "--channel", "HIGH", "--rate", "25000", "--out", "o"],
    "infer-compare": lambda: ["infer-compare"],
    "infer": lambda: ["infer", "--want", "well_timed=0.4"],
    "reproduce": lambda: ["reproduce", "4", "--no-rtl"],
    "sim": lambda: ["sim", "--simulator", "cxxrtl"],
    "sweep": lambda: ["sweep", "--out", "o"],
    "verilog": lambda: ["verilog", "--out", "v.sv"],
    "session": lambda: ["session", "--out", "o"],
    "detect": lambda: ["detect", recording(), "--channel", "HIGH", "--rate", "25000", "--out", "e.npz"],
    "calibrate": lambda: ["calibrate", training(), "--out", "c.toml"],
    "cfpc pursuit": lambda: ["cfpc", "pursuit", "--model", "float", "--trials", "2"],
    "cfpc blink": lambda: ["cfpc", "blink", "--model", "float", "--trials", "2"],
    "cfpc robustness": lambda: ["cfpc", "robustness", "--trials", "1"],
    "cfpc word-lengths": lambda: ["cfpc", "word-lengths", "--trials", "1"],
    "host record": lambda: ["host", "record", "--simulated", "--out", "o"],
    "host monitor": lambda: ["host", "monitor", "--simulated"],
}
"""A call of each verb that takes numbers."""


def options() -> Iterator[tuple[str, str, int]]:
    """(verb, option, how many numbers) of all options that take numbers."""
    import typer
    from microzone.tools.cli import main

    root: Any = typer.main.get_command(main.app)
    for name, command in root.commands.items():
        for verb, each in (
            [(name, command)]
            if not hasattr(command, "commands")
            else [(f"{name} {inner}", one) for inner, one in command.commands.items()]
        ):
            if verb not in USUAL:
                continue
            for param in each.params:
                what = str(getattr(param, "type_descriptor", None) and param.type_descriptor.annotation)
                if param.opts[0].startswith("--") and ("int" in what or "float" in what):
                    yield verb, param.opts[0], param.nargs


def _number(verb: str, option: str, count: int, text: str) -> Callable[[], list[str]]:
    return lambda: [*USUAL[verb](), option, *[text] * count]


# --- all of them ------------------------------------------------------------------------------


def fields(config: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of each field of a configuration."""
    for name, field in config.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and hasattr(kind, "model_fields"):
            yield from fields(kind, (*before, name))
        else:
            yield (*before, name)


def some(of: tuple[str, ...], count: int, name: str) -> list[str]:
    """So many, others for each name, and always the first."""
    return [of[0], *random.Random(name).sample(of[1:], count)]


def every_case() -> list[Case]:
    """The whole corpus, in an order that depends on nothing."""
    from microzone.golden_model.cfpc.config import CfpcConfig
    from microzone.golden_model.config import ChipConfig

    cases: list[Case] = []

    def add(name: str, prepare: Callable[[], list[str]], expected: str = REFUSED) -> None:
        cases.append(Case(name, prepare, expected))

    for slot, (kind, _) in SLOTS.items():
        for what, make in FILES.items():
            add(f"{slot}: {what}", _file(slot, make))
        for what, pattern in PATHS.items():
            add(f"{slot}: {what}", _path(slot, pattern))
        if kind in ("toml", "cfpc", "spec"):
            for what, text in TOML.items():
                add(f"{slot}: {what}", _text(slot, text))
        if kind == "npz":
            for what, make in NPZ.items():
                add(f"{slot}: {what}", _file(slot, make))
            if slot != "infer result":
                for what, entries in ENTRIES.items():
                    add(f"{slot}: {what}", _events(slot, entries))
        if kind == "mat":
            for what, content in MAT.items():
                refused = what not in ("other order", "name of escapes", "dimensions below 0")
                if slot not in HEAVY or refused:
                    add(f"{slot}: {what}", _bytes(slot, content), REFUSED if refused else EITHER)
            for what, make in SAMPLES.items():
                if slot not in HEAVY:
                    add(f"{slot}: {what}", _file(slot, make), EITHER)
        if kind == "npy":
            for what, content in NPY.items():
                add(
                    f"{slot}: {what}",
                    _bytes(slot, content),
                    EITHER if what in ("1e300", "5e-324") else REFUSED,
                )
    for what, (text, expected) in SPECS.items():
        add(f"sweep: {what}", _text("sweep", text), expected)
    for name in RECORDS:
        for what, text in JSON.items():
            add(f"{name}: {what}", _record(name, text))
    for slot, config in (
        ("run config", ChipConfig), ("detect config", ChipConfig), ("pursuit config", CfpcConfig),
    ):  # fmt: skip
        for path in fields(config):
            for number in some(NUMBERS, 7, f"{slot} {path}"):
                text = f"[{'.'.join(path[:-1])}]\n{path[-1]} = {number}\n"
                add(f"{slot}: {'.'.join(path)} = {number}", _text(slot, text), EITHER)
    for verb, option, count in options():
        for text in some(TEXTS, 8, f"{verb} {option}"):
            add(f"{verb} {option} {text[:30]!r}", _number(verb, option, count, text), EITHER)
    return cases


def chosen(count: int | None, seed: int = FULL_SEED) -> list[Case]:
    """So many of them, drawn; or all."""
    cases = every_case()
    return cases if count is None else random.Random(seed).sample(cases, count)


# --- running ----------------------------------------------------------------------------------


class Begun(Exception):
    """A verb whose work is left out has begun it."""


def _stub() -> contextlib.ExitStack:
    """Leave out the work of the verbs that take long, for cases about numbers."""
    from unittest import mock

    from microzone.sim.benches.run import BlockBench

    def begun(*_: Any, **__: Any) -> Any:
        raise Begun

    stack = contextlib.ExitStack()
    stack.enter_context(mock.patch.object(BlockBench, "run", begun))
    for name in (
        "tools.build.build_command", "tools.sessions.demo.compare_models", "tools.infer.run.run_inference",
        "tools.infer_compare.study.compare_circuits", "tools.reproduce.command.reproduce", "tools.sweep.run.run_sweep",
        "tools.sessions.chip_session.ChipSession.run", "tools.compare.compare.compare_models",
        "tools.compare.recorded_events.detect_all", "tools.host.connection.connected", "tools.cluster.cluster",
    ):  # fmt: skip
        stack.enter_context(mock.patch(f"microzone.{name}", begun))
    return stack


def run_case(case: Case) -> dict[str, Any]:
    """Run a case here, in a folder of its own; what came of it."""
    from microzone.tools.cli import main

    out, err = io.StringIO(), io.StringIO()
    here, began = Path.cwd(), time.perf_counter()
    stub = case.name.split()[0] in STUBBED and " --" in case.name
    trouble = ""
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder, contextlib.ExitStack() as stack:
        os.chdir(folder)
        try:
            arguments = case.prepare()
            began = time.perf_counter()
            Path("/proc/self/clear_refs").write_text("5")
            if stub:
                stack.enter_context(_stub())
            stack.enter_context(contextlib.redirect_stdout(out))
            stack.enter_context(contextlib.redirect_stderr(err))
            stack.enter_context(warnings.catch_warnings())
            sys.argv = ["microzone", "--debug", *arguments]
            status: int | str = 0
            try:
                main.main()
            except SystemExit as ended:
                status = int(ended.code or 0)
        except BaseException:
            status, trouble = -1, traceback.format_exc()
        finally:
            os.chdir(here)
    text = err.getvalue()
    if stub and "Begun" in text:
        status, text = 0, ""
    return {
        "name": case.name,
        "status": status,
        "err": (text + trouble)[-3000:],
        "lines": text.count("\n") - text.count("\nwarning:") - text.startswith("warning:"),
        "seconds": round(time.perf_counter() - began, 2),
        "bytes": _peak(),
    }


def _peak() -> int:
    """Largest resident memory since it was last asked to forget."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    return 0


def faults(case: Case, done: dict[str, Any]) -> list[str]:
    """What is wrong with an outcome."""
    found = []
    status, text = done["status"], done["err"]
    if "Traceback" in text or status == -1 or "unexpected:" in text:
        found.append("traceback")
    if done["seconds"] > SECONDS:
        found.append(f"{done['seconds']} s")
    if done["bytes"] > BYTES:
        found.append(f"{done['bytes'] >> 20} MiB")
    if case.expected == REFUSED and (status != 2 or done["lines"] != 1):
        found.append(f"status {status} in {done['lines']} lines, not refused")
    if case.expected == GOES and status != 0:
        found.append(f"status {status}, refused")
    if status in (1, 2) and not text.rstrip().rsplit("\n", 1)[-1].startswith("error: ") and status == 2:
        found.append("no line that begins with error")
    if len(text) > 2900 and "Traceback" not in text:
        found.append("a long message")
    if any(ord(letter) < 32 and letter not in "\n" for letter in text):
        found.append("control characters in a message")
    return found


def main() -> None:
    """Run cases FIRST to LAST of the drawn ones (COUNT, or all), a line of JSON each."""
    count, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    cases = chosen(None if count == "all" else int(count))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (4 * _GIB, 4 * _GIB))  # libraries map much that they do not use
    pipe = os.fdopen(os.dup(1), "w")
    for index in range(first, min(last, len(cases))):
        done = run_case(cases[index])
        print(json.dumps({"index": index, **done}), file=pipe, flush=True)


if __name__ == "__main__":
    main()
