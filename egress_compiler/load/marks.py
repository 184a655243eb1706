"""Marks of others, as the settings write them: MARK/MASK."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from egress_compiler.diagnostics import Collector
from egress_compiler.document import Document
from egress_compiler.model.settings import ForeignMark
from egress_compiler.validate import values

MAX_MARK = 0xFFFFFFFF


def parse_foreign_marks(document: Document, given: Sequence[Any], diagnostics: Collector) -> tuple[ForeignMark, ...]:
    """In their order, without those that are reported as wrong."""
    return tuple(
        mark
        for index, text in values.texts(given)
        if (mark := _foreign_mark(document, index, text, diagnostics)) is not None
    )


def _foreign_mark(document: Document, index: int, text: str, diagnostics: Collector) -> ForeignMark | None:
    mark_text, slash, mask_text = text.partition("/")
    mark, mask = _number(mark_text), _number(mask_text) if slash else MAX_MARK
    if max(mark, mask) > MAX_MARK:
        problem, hint = f"{text} is beyond 32 bits", "write what ip rule prints after fwmark"
    elif mask == 0:
        problem, hint = f"{text} matches every packet", "a mask has the bits that are compared: write MARK/MASK"
    elif mark & ~mask:
        problem = f"{text} compares the bits {mask:#x} alone, and its mark has others"
        hint = f"write {ForeignMark(mark & mask, mask)}, or a mask with all bits of {mark:#x}"
    else:
        return ForeignMark(mark, mask)
    diagnostics.error("foreign-mark", problem, document.at("foreignMarks", index), hint=hint)
    return None


def _number(text: str) -> int:
    """Of hexadecimal digits after 0x, else of decimal ones, also where zeros lead."""
    return int(text, 16) if text[:2] in ("0x", "0X") else int(text)
