"""Where others could get at running processes: sockets that listen, and what another user can open.

Linux only, from ``/proc``.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

NOBODY = 65534
_LISTENS = "0A"
_ACCEPTS = 0x10000
"""__SO_ACCEPTCON among the flags of a Unix socket."""

Door = tuple[str, Any]
"""Family and address, as ``socket.connect`` takes them."""


def descendants(process: int) -> list[int]:
    """A process and all below it."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(pid): int(parent) for pid, parent in (line.split() for line in listed.splitlines())}
    found, todo = [], [process]
    while todo:
        found.append(todo.pop())
        todo += [pid for pid, parent in parents.items() if parent == found[-1]]
    return found


def doors(processes: Iterable[int]) -> list[Door]:
    """Sockets of these processes that take connections, or have a name that others can send to."""
    held = {inode for process in processes for inode in _sockets(process)}
    found: list[Door] = []
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        for row in Path(f"/proc/net/{kind}").read_text().splitlines()[1:]:
            columns = row.split()
            if columns[9] in held and (kind.startswith("udp") or columns[3] == _LISTENS):
                address, port = columns[1].split(":")
                found.append((kind, (_host(address), int(port, 16))))
    for row in Path("/proc/net/unix").read_text().splitlines()[1:]:
        columns = row.split(None, 7)
        name = columns[7] if len(columns) > 7 else ""
        if columns[6] in held and (name or int(columns[3], 16) & _ACCEPTS):
            found.append(("unix", name.replace("@", "\0", 1) if name.startswith("@") else name))
    return found


def _sockets(process: int) -> set[str]:
    links = []
    for entry in Path(f"/proc/{process}/fd").iterdir():
        try:
            links.append(str(entry.readlink()))
        except FileNotFoundError:  # closed meanwhile
            continue
    return {match[1] for link in links if (match := re.fullmatch(r"socket:\[(\d+)\]", link))}


def _host(address: str) -> str:
    parts = [bytes.fromhex(address[start : start + 8])[::-1] for start in range(0, len(address), 8)]
    return socket.inet_ntop(socket.AF_INET if len(parts) == 1 else socket.AF_INET6, b"".join(parts))


def opened(found: Iterable[Door], processes: Iterable[int]) -> list[str]:
    """What this user gets into: a connection, or an end of a pipe of these processes."""
    into = []
    for kind, address in found:
        family = {"u": socket.AF_UNIX, "6": socket.AF_INET6}.get(
            "u" if kind == "unix" else kind[-1], socket.AF_INET
        )
        with socket.socket(
            family, socket.SOCK_DGRAM if kind.startswith("udp") else socket.SOCK_STREAM
        ) as one:
            one.settimeout(5)
            try:
                one.connect(address)
            except OSError:
                continue
            into.append(f"{kind} {address}")
    for process in processes:
        try:
            entries = sorted(Path(f"/proc/{process}/fd").iterdir())
        except OSError:
            continue
        for entry in entries:
            try:
                os.close(os.open(entry, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                continue
            into.append(str(entry))
    return into


def as_another_user(what: Callable[[], list[str]]) -> list[str]:
    """What a function finds as the user ``nobody``; for root only."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            found = what()
        except BaseException as error:
            found = [f"failed: {error!r}"]
        os.write(writing, json.dumps(found).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        found = list(json.loads(pipe.read()))
    os.waitpid(child, 0)
    return found
