"""A plan for a pull request: Markdown in which nothing that a user wrote can act, below a size that fits a comment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from egress_compiler.diagnostics import printable
from egress_compiler.plan import words
from egress_compiler.plan.model import Plan
from egress_compiler.plan.text import named_files

MARKDOWN_LIMIT = 60_000
"""Characters; GitHub takes comments of at most 65,536."""
TEXT_WIDTH = 200
"""Characters of one value; longer ones are cut."""
NAMED_PODS = 10
MARKER = "<!-- egress-compiler plan -->"
"""By which a workflow finds its own comment."""
_RESERVE = 500
"""Characters for the title of a later section and its statement of what was left out."""


class Section(NamedTuple):
    """``rows`` are whole lines, or blocks of lines, ``total`` of them; made one by one, as long as there is room."""

    title: str
    open: bool
    head: tuple[str, ...]
    rows: Iterable[str]
    total: int
    what: str


def as_markdown(plan: Plan, limit: int = MARKDOWN_LIMIT) -> str:
    """The plan in at most ``limit`` characters (4,000 or more); what does not fit is counted, not hidden."""
    lines = [MARKER, "### Egress plan", "", _escaped(words.summary(plan))]
    if plan.disruptive:
        lines += ["", f"**{words.DISRUPTIVE}**"]
    text = "\n".join(lines) + "\n"
    sections = [section for section in _sections(plan) if section.total]
    for position, section in enumerate(sections):
        later = len(sections) - position - 1
        room = limit - len(text) - later * _RESERVE
        # The first sections are what a reviewer decides on; yet none may take all the room of those behind it.
        text += _fitted(section, room if not later else min(room, max(_RESERVE, room * 2 // 3)), limit)
    return text


def _fitted(section: Section, room: int, limit: int) -> str:
    """The section with as many rows as ``room`` allows, and the count of the others."""
    title = f"{section.title} ({section.total})"
    before = ["", f"<details{' open' if section.open else ''}><summary>{title}</summary>", "", *section.head]
    after = ["", "</details>", ""]
    statement = f"of {section.total} {section.what} left out: this text is kept below {limit:,} characters."
    used = sum(len(line) + 1 for line in (*before, *after)) + len(f"\n{section.total} {statement}\n")
    fitting: list[str] = []
    for row in section.rows:
        used += len(row) + 1
        if used > room:
            break
        fitting.append(row)
    rest = section.total - len(fitting)
    left_out = ["", f"{rest} {statement}"] if rest else []
    return "\n".join([*before, *fitting, *left_out, *after])


def _sections(plan: Plan) -> Iterator[Section]:
    head = ("| | policy | before | after | pods |", "|---|---|---|---|---|")
    yield Section("Policies", True, head, _policies(plan), len(plan.policies), "policies")
    head = ("| | who | to | before | after | open connections |", "|---|---|---|---|---|---|")
    count = sum(len(group.flows) for group in plan.sources) + bool(plan.gone)
    yield Section("Who leaves with what", plan.disruptive, head, _sources(plan), count, "rows")
    yield Section(
        "EIPs", False, ("| | EIP | gateway | node |", "|---|---|---|---|"), _eips(plan), len(plan.eips), "EIPs"
    )
    notes = tuple(_notes(plan))
    yield Section("Nodes as a whole, and the inside of the cluster", True, (), notes, len(notes), "notes")
    count = len(plan.nodes) + bool(plan.files)
    yield Section("Files", False, ("| | node | files |", "|---|---|---|"), _files(plan), count, "rows")
    count = sum(bool(file.diff) for _, file in named_files(plan))
    yield Section("Line diffs", False, (), _diffs(plan), count, "files")


def _policies(plan: Plan) -> Iterator[str]:
    for policy in plan.policies:
        sign = "+" if policy.before is None else "-" if policy.after is None else "~"
        place = f"{policy.position.source.name}:{policy.position.line}" if policy.position else ""
        name = _code(str(policy.ref)) + "".join(
            f"<br>{text}" for text in (_escaped(policy.description), _code(place)) if text
        )
        counts = [f"{mark}{count}" for mark, count in (("+", policy.gained), ("-", policy.lost)) if count]
        yield _row(sign, name, _code(words.state(policy.before)), _code(words.state(policy.after)), " ".join(counts))


def _sources(plan: Plan) -> Iterator[str]:
    for group in plan.sources:
        names = [_code(member.name) for member in group.members[:NAMED_PODS]]
        more = len(group.members) - NAMED_PODS
        what = "" if group.what == "pod" else words.SUBNETS
        who = what + ", ".join(names) + (f" and {more} more" if more > 0 else "")
        for flow in group.flows:
            before, after = words.before_and_after(flow)
            ending = _escaped(words.connections(flow.connections))
            yield _row(
                words.sign(group),
                who,
                _code(words.destinations(flow.region)),
                _code(before),
                _code(after),
                f"**{ending}**" if flow.connections.outcome == "broken" else ending,
            )
            who = "the same" if len(group.members) > 3 else who
    if plan.gone:
        yield _row("", _code(words.some(plan.gone, NAMED_PODS)), "", "", "left the cluster", "")


def _eips(plan: Plan) -> Iterator[str]:
    for change in plan.eips:
        sign, text = words.eip(change)
        yield _row(sign, _code(change.address), _code(change.gateway), _escaped(text))


def _notes(plan: Plan) -> Iterator[str]:
    for note in plan.notes:
        yield f"- {_escaped(note.text)}"
    for joins, leaves in plan.inside.values():
        if joins:
            yield f"- joins the inside, so that no policy applies: {_code(words.some(joins, NAMED_PODS))}"
        if leaves:
            yield f"- leaves the inside, so that policies apply: {_code(words.some(leaves, NAMED_PODS))}"


def _files(plan: Plan) -> Iterator[str]:
    for node in plan.nodes:
        files = ", ".join(_code(words.file(file)) for file in node.files)
        yield _row(words.SIGNS[node.action], f"{_code(node.node)} {_escaped(node.role)}", files)
    if plan.files:
        yield _row("", "", ", ".join(_code(words.file(file)) for file in plan.files))


def _diffs(plan: Plan) -> Iterator[str]:
    for path, file in named_files(plan):
        if file.diff:
            yield f"{_code(path)}\n\n{_fenced(file.diff)}\n"


def _fenced(lines: Sequence[str]) -> str:
    """A block whose fence is longer than any run of backticks in it."""
    text = "\n".join(words.on_one_line(line) for line in lines[:MARKDOWN_LIMIT])
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}diff\n{text}\n{fence}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _code(text: str) -> str:
    """``text`` as code: there, GitHub makes neither links nor mentions of it."""
    return f"<code>{_escaped(text)}</code>" if text else ""


def _escaped(text: str) -> str:
    """On one line, with everything but letters, digits and harmless marks as entities, so that nothing acts."""
    cut = text if len(text) <= TEXT_WIDTH else text[: TEXT_WIDTH - 1] + "…"
    return _HARMFUL.sub(lambda match: f"&#{ord(match[0])};", printable(cut))


_HARMFUL = re.compile(r"[^\w .,:;/()+'%=?…-]|_")
