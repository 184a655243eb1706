"""Text from the user's files made fit to be shown: cut, quoted, with nothing in it that a terminal or a CI acts on."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

MAX_GUESSED = 64
"""Longer words get no suggestion: comparing takes time with the product of the lengths."""


SURE = 0.84
"""Of difflib's ratio: EgressPolcy is EgressPolicy, EgressNetworkPolicy is something else."""


def printable(text: str) -> str:
    """``text`` with control, format, bidirectional and unassigned characters spelled as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def quoted(text: str, limit: int = 80) -> str:
    """``text`` in quotes, cut to ``limit`` characters, printable."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return f"'{printable(cut)}'"


def inert(line: str) -> str:
    """A line of output that no CI runner takes for a command.

    GitHub's obeys ``::name::`` at the start of a line, and ``##[name]`` anywhere in it.
    """
    safe = line.replace("##[", "##\\[")
    return safe.replace("::", ":\\:", 1) if safe.lstrip().startswith("::") else safe


def width(text: str) -> int:
    """How many columns a terminal gives to ``text``: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the known word closest to ``word``, or the empty string."""
    if len(word) > MAX_GUESSED:
        return ""
    close = _closest(word, tuple(sorted(known)))
    return f"did you mean {quoted(close)}?" if close else ""


def similar(word: str, known: Iterable[str]) -> bool:
    """Whether ``word`` is one of ``known`` or is so near to one that it was surely meant."""
    return len(word) <= MAX_GUESSED and bool(_closest(word, tuple(sorted(known)), SURE))


@lru_cache(maxsize=1024)
def _closest(word: str, known: tuple[str, ...], cutoff: float = 0.6) -> str:
    by_case = {option.lower(): option for option in known}
    close = difflib.get_close_matches(word.lower(), by_case, n=1, cutoff=cutoff)
    return by_case[close[0]] if close else ""


def listing(names: Iterable[str], limit: int = 3) -> str:
    """``a, b and c``, cut after ``limit`` names: ``a, b, c and 4 more``."""
    shown = list(names)
    if len(shown) > limit:
        return f"{', '.join(shown[:limit])} and {len(shown) - limit} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)


def counted(number: int, one: str, many: str = "") -> str:
    """``1 pod``, ``3 pods``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
