# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What pods change of rules and routes: as lines for ip, without reading what the kernel has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from ansible_collections.egress.gateway.plugins.module_utils.contract import routing, spelling
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import (
    FAMILIES,
    Family,
    IpRoute,
    IpRule,
    NodePlan,
)
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError, batch
from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import Kernel
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import Resource, settle
from ansible_collections.egress.gateway.plugins.module_utils.resources.steering import TAKEN_AWAY, Routes, Rules

T = TypeVar("T")
Lines = Mapping[Family, list[str]]


@dataclass(frozen=True)
class Steering:
    """All that a plan steers, but for what no pod changes."""

    rules: tuple[IpRule, ...]
    routes: tuple[IpRoute, ...]

    @classmethod
    def of(cls, plan: NodePlan) -> Steering:
        plan = replace(plan, kernel=replace(plan.kernel, peers=()))
        return cls(
            (*routing.rules(plan), *routing.last_rules(plan)),
            (*routing.routes(plan), *routing.last_routes(plan)),
        )

    def new_lines(self, before: Steering) -> Lines:
        """What is to come before the table leads there: routes before the rules that look them up."""
        lines = _nothing()
        for route in _only(self.routes, before.routes):
            lines[route.family].append("route replace " + spelling.route(route))
        for rule in _only(self.rules, before.rules):
            lines[rule.family].append("rule add " + spelling.rule(rule))
        return lines

    def gone_lines(self, after: Steering) -> Lines:
        """What may go when nothing leads there any more."""
        lines = _nothing()
        rules = _only(self.rules, after.rules)
        for rule in sorted(rules, key=lambda r: TAKEN_AWAY.index(r.preference) if r.preference in TAKEN_AWAY else 0):
            lines[rule.family].append("rule delete " + spelling.rule(rule))
        for route in _only(self.routes, after.routes):
            lines[route.family].append("route delete " + spelling.route(route))
        return lines


def run(lines: Lines) -> bool:
    """Whether the kernel took all of it; what it did not take may be there already, or gone."""
    done = [batch(["ip", "-%d" % family], lines[family]) for family in FAMILIES]
    return not any(done)


def put_right(plan: NodePlan) -> None:
    """Reads what the kernel has, and adds what is missing of the plan. NodeError where that fails."""
    kernel = Kernel()
    wanted: list[Resource] = [Routes(kernel, plan), Rules(kernel, plan)]
    wanted += [Routes(kernel, plan, last=True), Rules(kernel, plan, last=True)]
    problems: list[NodeError] = []
    for resource in wanted:
        try:
            settle(resource, ("create", "modify"))
        except NodeError as error:
            problems.append(error)
    if problems:
        raise problems[0]


def _nothing() -> dict[Family, list[str]]:
    return {family: [] for family in FAMILIES}


def _only(these: Iterable[T], others: Iterable[T]) -> list[T]:
    known = frozenset(others)
    return [one for one in these if one not in known]
