"""Line differences in linear time: the files of a large gateway have a hundred thousand lines."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

CONTEXT = 3
"""Unchanged lines around a change."""
SMALL = 400
"""Lines in which difflib, which is quadratic at worst, looks for what is alike."""


class Block(NamedTuple):
    """Lines ``a0`` to ``a1`` of the old text became lines ``b0`` to ``b1`` of the new one; ends are excluded."""

    a0: int
    a1: int
    b0: int
    b1: int


def count_lines(before: str, after: str) -> tuple[int, int]:
    """How many lines come and go; a line that moves counts as neither."""
    old, new = Counter(before.splitlines()), Counter(after.splitlines())
    return (new - old).total(), (old - new).total()


def unified_diff(before: str, after: str) -> tuple[str, ...]:
    """Hunks as diff -u writes them, without its two lines for the file."""
    old, new = before.splitlines(), after.splitlines()
    lines: list[str] = []
    for hunk in _hunks(_blocks(old, new)):
        first, last = hunk[0], hunk[-1]
        a0, b0 = max(0, first.a0 - CONTEXT), max(0, first.b0 - CONTEXT)
        a1, b1 = min(len(old), last.a1 + CONTEXT), min(len(new), last.b1 + CONTEXT)
        lines.append(f"@@ -{_span(a0, a1)} +{_span(b0, b1)} @@")
        position = a0
        for block in hunk:
            lines += [f" {line}" for line in old[position : block.a0]]
            lines += [f"-{line}" for line in old[block.a0 : block.a1]]
            lines += [f"+{line}" for line in new[block.b0 : block.b1]]
            position = block.a1
        lines += [f" {line}" for line in old[position:a1]]
    return tuple(lines)


def _span(first: int, end: int) -> str:
    return f"{first + 1 if end > first else first},{end - first}"


def _hunks(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Changes whose contexts touch are shown together."""
    hunk: list[Block] = []
    for block in blocks:
        if hunk and block.a0 - hunk[-1].a1 > 2 * CONTEXT:
            yield hunk
            hunk = []
        hunk.append(block)
    if hunk:
        yield hunk


def _blocks(old: Sequence[str], new: Sequence[str]) -> list[Block]:
    """The changes, in order: between lines that are unique in both texts, difflib compares what is left."""
    changes: list[Block] = []
    a = b = 0
    for x, y in [*_anchors(old, new), (len(old), len(new))]:
        changes += _between(old, new, Block(a, x, b, y))
        a, b = x + 1, y + 1
    return _joined(changes)


def _between(old: Sequence[str], new: Sequence[str], gap: Block) -> Iterator[Block]:
    a0, a1, b0, b1 = gap
    while a0 < a1 and b0 < b1 and old[a0] == new[b0]:
        a0, b0 = a0 + 1, b0 + 1
    while a0 < a1 and b0 < b1 and old[a1 - 1] == new[b1 - 1]:
        a1, b1 = a1 - 1, b1 - 1
    if a0 == a1 and b0 == b1:
        return
    if a1 - a0 + b1 - b0 > SMALL:
        yield Block(a0, a1, b0, b1)
        return
    matcher = SequenceMatcher(None, old[a0:a1], new[b0:b1], autojunk=False)
    for tag, i0, i1, j0, j1 in matcher.get_opcodes():
        if tag != "equal":
            yield Block(a0 + i0, a0 + i1, b0 + j0, b0 + j1)


def _joined(changes: Sequence[Block]) -> list[Block]:
    joined: list[Block] = []
    for block in changes:
        if joined and joined[-1].a1 == block.a0 and joined[-1].b1 == block.b0:
            joined[-1] = Block(joined[-1].a0, block.a1, joined[-1].b0, block.b1)
        else:
            joined.append(block)
    return joined


def _anchors(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """Positions of lines that stand once in each text, the longest run of them that is in the same order in both."""
    once_old, once_new = _unique(old), _unique(new)
    pairs = [(x, once_new[line]) for line, x in once_old.items() if line in once_new]
    tails: list[int] = []
    ends: list[int] = []
    previous: list[int] = []
    for index, (_, y) in enumerate(pairs):
        place = bisect_left(tails, y)
        previous.append(ends[place - 1] if place else -1)
        tails[place : place + 1] = [y]
        ends[place : place + 1] = [index]
    run: list[tuple[int, int]] = []
    index = ends[-1] if ends else -1
    while index >= 0:
        run.append(pairs[index])
        index = previous[index]
    return run[::-1]


def _unique(lines: Sequence[str]) -> dict[str, int]:
    """Lines that stand once, in their order, with their positions."""
    counts = Counter(lines)
    return {line: position for position, line in enumerate(lines) if counts[line] == 1}
