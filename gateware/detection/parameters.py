"""What the access port of the event detection reaches, and the layouts of its streams."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from amaranth.hdl import Array, Const, ShapeLike, Value
from amaranth.lib import data

from ...golden_model.detection_parameters import DetectionParameters, DetectionRow
from ...golden_model.fixed import QFormat
from ..events import channel_shape

__all__ = [
    "TABLE_BITS",
    "TableWord",
    "configured_word",
    "detection_access_layout",
    "detection_word_width",
    "sample_layout",
    "words_after_reset",
]

TABLE_BITS = 4
"""Bits of a row's number in one electrode's part of a memory."""


class TableWord(enum.IntEnum):
    """Where a word is in an electrode's part of the table: parameter r is at ``PARAMETERS + r``.

    What is fetched in place of another differs from it in one bit.
    """

    MEAN = 0
    ASIDE = 1  # what waits, within a sample
    VARIABILITY = 2
    COUNTS = 3
    LONG = 4
    PARAMETERS = 8
    REFRACTORY = PARAMETERS + DetectionRow.REFRACTORY
    LEVEL = PARAMETERS + DetectionRow.LEVEL
    NOTHING = 15  # always 0


def words_after_reset(parameters: DetectionParameters, electrode: int) -> list[int]:
    """The words of an electrode, in the order in which they are copied to its part of the table.

    A word is written two cycles after it was read, so they begin with the third. The last two, which come to
    the next electrode, are its mean, 0, and what is of no account.
    """
    words = [0] * ((1 << TABLE_BITS) + 2)
    words[TableWord.COUNTS] = parameters.count_format.raw_max  # nothing is left of a refractory time
    for row in DetectionRow:
        if row.tap is None:
            words[TableWord.PARAMETERS + row] = int(parameters.words(row)[electrode])
    return words[2:]


def sample_layout(electrodes: int, fmt: QFormat) -> data.StructLayout:
    """Layout of one sample: ``electrode``, ``sample`` (a raw word of `fmt`), ``blanked``."""
    return data.StructLayout({"electrode": channel_shape(electrodes), "sample": fmt.as_shape(), "blanked": 1})


def detection_word_width(parameters: DetectionParameters) -> int:
    """Bits of a word at the access port: those of the widest parameter."""
    return max(parameters.row_format(row).width for row in parameters.rows)


def detection_access_layout(parameters: DetectionParameters) -> data.StructLayout:
    """Layout of one access: ``electrode``, ``row``, ``write``, and the raw ``word`` to write."""
    return data.StructLayout(
        {
            "electrode": channel_shape(parameters.electrodes),
            "row": DetectionRow,
            "write": 1,
            "word": detection_word_width(parameters),
        }
    )


def configured_word(
    parameters: DetectionParameters,
    rows: Sequence[DetectionRow | None],
    shape: ShapeLike,
    electrode: Value,
    row: Value,
) -> Value:
    """The configured word of an electrode, after reset; combinational, one table a distinct setting.

    Parameters
    ----------
    parameters : DetectionParameters
    rows : sequence of DetectionRow or None
        What is in row 0, 1 and so on of the table; None, and what is beyond, is 0.
    shape : ShapeLike
        Of the words.
    electrode, row : Value
        Which word.
    """
    settings = parameters.settings
    kinds = list(dict.fromkeys(settings))
    tables = []
    for kind in kinds:
        first = settings.index(kind)
        words = [0 if at is None else int(parameters.words(at)[first]) for at in rows]
        words += [0] * ((1 << TABLE_BITS) - len(words))
        tables.append(Array(Const(word, shape) for word in words)[row])
    if len(kinds) == 1:
        return tables[0]
    return Array(Array(tables)[kinds.index(one)] for one in settings)[electrode]
