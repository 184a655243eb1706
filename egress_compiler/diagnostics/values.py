"""What is wrong with the input, as data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from egress_compiler.diagnostics.words import counted
from egress_compiler.source import Position

MAX_KEPT = 10_000
"""Diagnostics that a run keeps; a file of junk would fill the memory with more of them than anybody reads."""


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Related:
    """A second place that belongs to a diagnostic, such as an earlier definition."""

    message: str
    position: Position


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """``accepted`` has the reason for which the user lives with a warning; such a one is kept, but is no complaint."""

    code: str
    severity: Severity
    message: str
    position: Position | None = None
    hint: str = ""
    related: tuple[Related, ...] = ()
    accepted: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Acceptance:
    """The user's word that warnings of ``code`` in what it ``covers`` are meant to be; ``position`` is that word's."""

    code: str
    reason: str
    covers: Callable[[Position], bool]
    position: Position


class InvalidInput(Exception):
    """The input cannot be compiled; carries every diagnostic of the run, warnings included.

    ``nothing_written`` is False in the one case in which a file could be written, but not all.
    """

    def __init__(self, diagnostics: Sequence[Diagnostic], *, nothing_written: bool = True) -> None:
        first = next((d.message for d in diagnostics if d.severity is Severity.ERROR), "")
        super().__init__(f"{counted(count_errors(diagnostics), 'error')}: {first}")
        self.diagnostics = tuple(diagnostics)
        self.nothing_written = nothing_written


class Collector:
    """Gathers the diagnostics of a run so that it reports them all."""

    def __init__(self) -> None:
        self._kept: dict[Diagnostic, None] = {}
        self._acceptances: dict[tuple[str, str], list[Acceptance]] = {}
        self._incomplete: set[str] = set()
        self.errors = 0

    def error(
        self, code: str, message: str, position: Position | None, *, hint: str = "", related: tuple[Related, ...] = ()
    ) -> None:
        self.errors += 1
        self._keep(Diagnostic(code, Severity.ERROR, message, position, hint, related))

    def warning(
        self, code: str, message: str, position: Position | None, *, hint: str = "", related: tuple[Related, ...] = ()
    ) -> None:
        self._keep(Diagnostic(code, Severity.WARNING, message, position, hint, related))

    def _keep(self, diagnostic: Diagnostic) -> None:
        if len(self._kept) < MAX_KEPT:
            self._kept[diagnostic] = None
        elif diagnostic.severity is Severity.ERROR and all(d.severity is Severity.WARNING for d in self._kept):
            # Of so many warnings one more or less tells nothing; that there is an error does.
            self._kept.popitem()
            self._kept[diagnostic] = None

    def add(self, diagnostics: Iterable[Diagnostic]) -> None:
        """What others have found."""
        for diagnostic in diagnostics:
            self.errors += diagnostic.severity is Severity.ERROR
            self._keep(diagnostic)

    def take(self, other: Collector) -> None:
        """All that ``other`` has."""
        self.add(other._kept)
        for key, several in other._acceptances.items():
            self._acceptances.setdefault(key, []).extend(several)
        self._incomplete |= other._incomplete

    def copy(self) -> Collector:
        """One that goes on from here by itself."""
        copied = Collector()
        copied.take(self)
        return copied

    def accept(self, acceptance: Acceptance) -> None:
        """From now on and for what was found already."""
        key = (acceptance.position.source.name, acceptance.code)
        self._acceptances.setdefault(key, []).append(acceptance)

    def _acceptance(self, diagnostic: Diagnostic) -> Acceptance | None:
        place = diagnostic.position
        if place is None or diagnostic.severity is Severity.ERROR or not self._acceptances:
            return None
        candidates = self._acceptances.get((place.source.name, diagnostic.code), ())
        return next((candidate for candidate in candidates if candidate.covers(place)), None)

    @property
    def found(self) -> tuple[Diagnostic, ...]:
        """All, the accepted ones marked."""
        accepted = ((d, self._acceptance(d)) for d in self._kept)
        return tuple(d if by is None else replace(d, accepted=by.reason) for d, by in accepted)

    def warn_of_unused(self) -> None:
        """A warning for every acceptance that accepted nothing; for the end of a whole run, when all has been found."""
        used = {self._acceptance(diagnostic) for diagnostic in self._kept}
        for acceptance in (a for several in self._acceptances.values() for a in several):
            if acceptance not in used:
                self.warning(
                    "accept-unused",
                    f"there is no warning '{acceptance.code}' here to accept",
                    acceptance.position,
                    hint="take it out of the annotation",
                )

    @property
    def full(self) -> bool:
        """Whether there are more errors than are kept: looking for further ones is of no use."""
        return self.errors > MAX_KEPT

    @property
    def failed(self) -> bool:
        return self.errors > 0

    def raise_if_failed(self) -> None:
        if self.failed:
            raise InvalidInput(in_order(self.found))

    def raise_if_missing(self, *parts: str) -> None:
        """Where one of ``parts`` could not be read, what follows from it would only be noise."""
        if self.is_missing(*parts):
            raise InvalidInput(in_order(self.found))

    def missing(self, part: str) -> None:
        """Notes that of ``part`` of the input something could not be read: what seems absent may be in there."""
        self._incomplete.add(part)

    def is_missing(self, *parts: str) -> bool:
        return not self._incomplete.isdisjoint(parts)


def count_errors(diagnostics: Iterable[Diagnostic]) -> int:
    return sum(d.severity is Severity.ERROR for d in diagnostics)


def open_warnings(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """The warnings that nobody has accepted."""
    return tuple(d for d in diagnostics if d.severity is Severity.WARNING and not d.accepted)


def refuse_open_warnings(diagnostics: Iterable[Diagnostic]) -> None:
    """Raises InvalidInput where there is a warning that nobody has accepted."""
    found = tuple(diagnostics)
    if open_warnings(found):
        raise InvalidInput(in_order(found))


def in_order(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Sorted by file and place, duplicates removed, so that a run's report does not depend on the order of input."""

    def key(d: Diagnostic) -> tuple[str, int, int, str, str]:
        if d.position is None:
            return ("", 0, 0, d.code, d.message)
        return (d.position.source.name, d.position.line, d.position.column, d.code, d.message)

    return tuple(sorted(dict.fromkeys(diagnostics), key=key))
