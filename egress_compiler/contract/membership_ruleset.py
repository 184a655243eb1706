# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""The ruleset's part that follows a node's pods, as nft commands that go from one plan to another in one transaction.

Behind nftables.nft, in the same file, the commands from the plan without pods make the whole of what the kernel has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Optional

from .membership import BLOCKED, UNGOVERNED
from .names import NFT_TABLE
from .numbers import answer_mark
from .plan import FAMILIES, NodePlan, Source, WorkerRole

_IN = "inet " + NFT_TABLE
Lines = Callable[[str], Sequence[str]]
"""The rules of a chain by its name, from members.json."""


def script(before: NodePlan, after: NodePlan, lines: Lines) -> str:
    """Empty where nothing differs.  What is new comes first and what goes comes last, as elements lead to chains."""
    old, new = _chains(before.worker), _chains(after.worker)
    coming, going = [name for name in new if name not in old], [name for name in old if name not in new]
    commands = [*_blocks(coming, new, lines)]
    there, wanted = _elements(before), _elements(after)
    for name, values in wanted.items():
        commands += _command("delete", name, {k: v for k, v in there[name].items() if values.get(k) != v})
        commands += _command("add", name, {k: v for k, v in values.items() if there[name].get(k) != v})
    commands += ["flush chain %s %s" % (_IN, name) for name in going]
    commands += ["delete chain %s %s" % (_IN, name) for name in going]
    return "".join(command + "\n" for command in commands)


def _blocks(coming: Iterable[str], new: Mapping[str, Optional[Sequence[str]]], lines: Lines) -> Iterator[str]:
    body: list[str] = []
    for name in coming:
        rules = new[name]
        body += ["\tchain %s {" % name, *("\t\t" + rule for rule in (lines(name) if rules is None else rules)), "\t}"]
    if body:
        yield "\n".join(("table %s {" % _IN, *body, "}"))


def _chains(worker: WorkerRole) -> dict[str, Optional[Sequence[str]]]:
    """By name; the rules of an order follow from it, those of all others are ready-made."""
    falling = {slot.number for slot in worker.slots if slot.falls_back}
    found: dict[str, Optional[Sequence[str]]] = {"waits.%d" % number: None for number in sorted(falling)}
    found.update(("slot.%d" % slot.number, None) for slot in worker.slots)
    found.update(("answer.%d" % answer.number, None) for answer in worker.answers if not answer.gone)
    found.update(("policy." + policy.name, None) for policy in worker.policies)
    for order in worker.orders:
        found["order." + order.name] = ["jump policy." + name for name in order.policies]
    return found


def _elements(plan: NodePlan) -> dict[str, dict[str, str]]:
    """By set, the values of its keys."""
    worker = plan.worker
    orders = frozenset(order.name for order in worker.orders)
    found: dict[str, dict[str, str]] = {}
    for family in FAMILIES:
        pods = worker.pods.of(family)
        found["governed_pods%d" % family] = {pod.source: verdict(pod, orders) for pod in pods}
        found["pod_ranges%d" % family] = dict.fromkeys(plan.last_resort.ranges.of(family), "")
    falling = {slot.number for slot in worker.slots if slot.falls_back}
    marks = {answer.number: "0x%08x" % answer_mark(answer.number) for answer in worker.answers}
    found["answer_slots"] = {marks[a.number]: "goto slot.%d" % a.slot for a in worker.answers}
    falls = (a for a in worker.answers if a.slot in falling)
    found["answers_that_fall_back"] = {marks[a.number]: "jump waits.%d" % a.slot for a in falls}
    return found


def verdict(source: Source, orders: frozenset[str]) -> str:
    """What the ruleset does with a source; ``orders`` are the chains of several policies, all others are of one."""
    if source.chain == UNGOVERNED:
        return "return"
    if source.chain == BLOCKED:
        return "goto " + BLOCKED
    return "goto %s.%s" % ("order" if source.chain in orders else "policy", source.chain)


def _command(verb: str, name: str, elements: Mapping[str, str]) -> Iterator[str]:
    if elements:
        listed = ", ".join(key + (" : " + value if value else "") for key, value in elements.items())
        yield "%s element %s %s { %s }" % (verb, _IN, name, listed)
