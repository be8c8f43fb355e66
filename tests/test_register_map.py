"""The register map: that it agrees with the parameters of the blocks, and what is generated from it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from amaranth.sim import Simulator
from generate.pages import DOCS
from generate.registers import HEADER, register_table, write_html, write_registers
from microzone.gateware.microcircuit.parameters import Parameter, parameter_formats
from microzone.gateware.registers import file as register_file
from microzone.gateware.registers import map as register_map
from microzone.golden_model import ChipConfig, ConfigError
from microzone.golden_model.detection_parameters import DetectionRow
from register_host import (
    FULL,
    NARROW,
    PLAIN,
    WITH_ALL,
)
from support import applying, changed

# --- the map ----------------------------------------------------------------------------------


def test_addresses_follow_the_numbers_of_the_parameters() -> None:
    known = register_map.register_map(FULL)
    assert known["control.MAGIC"].address == 0 and known["control.CONFIG_HASH[7]"].address == 0x5C
    assert known["stimulation.GUARD_AFTER"].address == 0x400 + 4 * 9
    for parameter in parameter_formats(FULL):
        assert known[f"circuits[1].{parameter.name}"].address == 0x1080 + 4 * parameter.value
    for row in DetectionRow:
        assert known[f"electrodes[3].{row.name}"].address == 0x4180 + 4 * row
    assert known["electrodes[2].LEVEL_HIGH"].address == 0x411C
    assert list(known.by_address) == sorted(known.by_address)
    assert len(known.by_address) == len(known.registers) == 27 + 12 + 2 * 15 + 4 * 18


def test_a_configuration_has_its_own_registers_only() -> None:
    known = register_map.register_map(PLAIN).registers
    absent = set(register_map.register_map(FULL).registers) - set(known)
    assert "circuits[0].STATUS" in absent and "electrodes[0].FIRST_B0" in absent
    assert {"circuits[0].WEIGHT", "electrodes[1].LEVEL_HIGH"} <= set(known)
    assert "electrodes[0].LEVEL_HIGH" not in register_map.register_map(NARROW).registers


def test_fields_are_apart_and_described() -> None:
    for register in register_map.register_map(FULL).registers.values():
        masks = [field.mask for field in register.fields.values()]
        assert sum(masks) == int(np.bitwise_or.reduce(masks)) < 1 << 32, register.path
        assert register.readable or register.writable
        assert register.description and all(field.description for field in register.fields.values())
    status = register_map.register_map(FULL)["control.STATUS"].fields
    assert status["late"].of(0x80) == 1 and status["late"].of(0x7F) == 0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("word32 GAP @ 0x0C;", "word32 GAP @ 0x30;", r"stimulation\.GAP is at offset 0x30 .*says 3"),
        ("word32 GAIN @ 0x14;", "word32 LOSS @ 0x14;", r"electrodes\[0\]\.LOSS .*says None"),
        ("word32 PULSES @ 0x10;\n        PULSES->desc = \"Pulses of a train.\";", "", r"stimulation has no .*PULSES"),
    ],
)  # fmt: skip
def test_a_source_that_does_not_agree_is_refused(tmp_path: Any, old: str, new: str, message: str) -> None:
    text = register_map.SOURCE.read_text(encoding="utf-8")
    assert text.count(old) == 1
    text = text.replace(old, new)
    if "LOSS" in new:
        text = text.replace("GAIN->desc", "LOSS->desc")
    (tmp_path / "other.rdl").write_text(text, encoding="utf-8")
    with (
        mock.patch.object(register_map, "SOURCE", tmp_path / "other.rdl"),
        pytest.raises(ValueError, match=message),
    ):
        register_map.register_map.__wrapped__(PLAIN)


def test_a_parameter_without_register_is_refused() -> None:
    more = {**register_map.present_parameters(PLAIN), "circuits": tuple(Parameter)}
    with (
        mock.patch.object(register_map, "present_parameters", lambda config: more),
        pytest.raises(ValueError, match=r"circuits\[0\] has no register for ALPHA_0"),
    ):
        register_map.register_map.__wrapped__(PLAIN)


def test_words_that_no_register_holds_are_refused() -> None:
    wide = ChipConfig.make(formats={"potentiation": "UQ(0,33)", "weight": "UQ(0,33)"})
    with pytest.raises(ConfigError, match=r"WEIGHT = UQ\(0,33\) has more than the 32 bits"):
        register_map.register_map(wide)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    applying([
        ('"late": sequence.late,\n', "", r"control\.STATUS has the fields .*'late'.*driven"),
        ('"TELEMETRY_LOST": self.lost,\n', "", r"control\.TELEMETRY_LOST .*driven are \[\]"),
        ('"SHADOW": {"waiting"', '"LIGHT": {"x": sequence.late}, "SHADOW": {"waiting"', "has no LIGHT"),
        ('"commit": sequence.commit,\n', "", r"control\.COMMAND"),
    ], register_file),
)  # fmt: skip
def test_a_register_that_nothing_drives_is_an_error(old: str, new: str, message: str) -> None:
    other = changed(register_file, old, new)
    with pytest.raises(ValueError, match=message):
        Simulator(other.RegisterFile(PLAIN))


# --- what is generated ------------------------------------------------------------------------


def test_the_generated_header_is_up_to_date(tmp_path: Path) -> None:
    write_registers(tmp_path)
    kept = DOCS / "registers" / HEADER
    assert (tmp_path / HEADER).read_text(encoding="utf-8") == kept.read_text(encoding="utf-8"), (
        "run `make docs`"
    )


def test_the_table_of_the_docs_is_that_of_the_source() -> None:
    assert register_table() in (DOCS / "blocks" / "registers.md").read_text(encoding="utf-8"), (
        "run `make docs`"
    )


def test_the_html_page_has_every_register(tmp_path: Path) -> None:
    write_html(tmp_path, CIRCUITS=2)
    assert (tmp_path / "index.html").exists()
    pages = "".join(path.read_text(encoding="utf-8") for path in tmp_path.glob("data/*.json"))
    for register in register_map.register_map(FULL).registers.values():
        assert f'"{register.name.partition("[")[0]}"' in pages, register.path


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_the_header_compiles_to_the_addresses_of_the_map(tmp_path: Path) -> None:
    known = register_map.register_map(WITH_ALL).registers.values()
    lines = [f'#include "{DOCS / "registers" / HEADER}"', "#include <cstddef>"]
    for register in known:
        lines.append(f"static_assert(offsetof(microzone_t, {register.path}) == {register.address});")
        for name, field in register.fields.items():
            macro = "MICROZONE__" + re.sub(r"\[\d+\]", "X", register.path).replace(".", "__").upper()
            lines.append(f"static_assert({macro}__{name.upper()}_bm == {field.mask}u);")
    (tmp_path / "check.cpp").write_text("\n".join(lines), encoding="utf-8")
    subprocess.run(["g++", "-fsyntax-only", "-std=c++17", tmp_path / "check.cpp"], check=True, timeout=60)
