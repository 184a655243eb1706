"""Finds the lines of generated files that do something, by the names that they give it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from egress_compiler.explain.model import Line


class Files:
    """The files of a bundle, split into lines once; ``text`` gives one by its path.

    What is not found is left out, never guessed.
    """

    def __init__(self, text: Callable[[str], str]) -> None:
        self._text = text
        self._lines: dict[str, list[str]] = {}

    def _of(self, file: str) -> list[str]:
        if file not in self._lines:
            self._lines[file] = self._text(file).split("\n")
        return self._lines[file]

    def line(self, file: str, *parts: str) -> Iterator[Line]:
        """The first line with all ``parts``."""
        for number, text in enumerate(self._of(file), start=1):
            if all(part in text for part in parts):
                yield Line(file, number, text.strip())
                return

    def within(self, file: str, head: str, *parts: str, also: str = "") -> Iterator[Line]:
        """The first line with all ``parts`` in the block that the line ``head`` opens.

        With ``also``, an element of a set that stands in lines of its own: the line with it comes first, and
        ``parts`` are looked for behind it.
        """
        block = list(self._block(file, head))
        start = 0
        if also:
            found = next((line for line in block if line.text.rstrip(",") == also), None)
            if found is None:
                return
            yield found
            start = found.number
        for line in block:
            if line.number > start and all(part in line.text for part in parts):
                yield line
                return

    def _block(self, file: str, head: str) -> Iterator[Line]:
        """The lines between ``head`` and the closing brace of its own depth."""
        lines = self._of(file)
        opening = next((n for n, text in enumerate(lines) if text.strip() == head), None)
        if opening is None:
            return
        indent = lines[opening][: len(lines[opening]) - len(lines[opening].lstrip())]
        for number in range(opening + 1, len(lines)):
            if lines[number] == indent + "}":
                return
            yield Line(file, number + 1, lines[number].strip())


def gathered(*parts: Iterable[Line]) -> tuple[Line, ...]:
    return tuple(line for lines in parts for line in lines)
