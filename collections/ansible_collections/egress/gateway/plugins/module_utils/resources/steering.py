# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""ip rules and routes: which packets look up which table, and where each table leads."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.egress.gateway.plugins.module_utils.contract import routing, spelling
from ansible_collections.egress.gateway.plugins.module_utils.contract.numbers import (
    DEFAULT_IPV6_METRIC,
    END_PREFERENCE,
    ENTER_PREFERENCE,
    FIRST_TABLE,
    LAST_PREFERENCE,
    LAST_TABLE,
    MARK_MASK,
    PASS_PREFERENCE,
    PREFIX_MASK,
    ROUTE_PROTOCOL,
    SKIP_PREFERENCE,
    STEER_PREFERENCE,
    is_own_mark,
)
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import FAMILIES, IpRoute, IpRule, NodePlan
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError, batch
from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import Kernel, KernelRoute, KernelRule
from ansible_collections.egress.gateway.plugins.module_utils.resources.key import Key
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import Change, Item, Items, Resource

TAKEN_AWAY = (ENTER_PREFERENCE, LAST_PREFERENCE, PASS_PREFERENCE, SKIP_PREFERENCE, END_PREFERENCE)
"""The last resort's, in the order in which they may go: its entrance first, and last where all others lead.

So none refuses what a host sends while others are missing; they come in the order of the contract for the same reason.
"""


class Rules(Resource):
    """ip rules: the ``last`` resort's, or all others."""

    def __init__(self, kernel: Kernel, plan: NodePlan | None, last: bool = False) -> None:
        self._kernel = kernel
        self._last = self.closes = last
        of_plan = routing.last_rules if last else routing.rules
        self._wanted = {_rule_key(rule): rule for rule in of_plan(plan)} if plan else {}
        self._found: dict[Key, KernelRule] = {}

    def forget(self) -> None:
        self._kernel.forget()

    def desired(self) -> Items:
        return {key: Item(spelling.action(rule), rule.origin) for key, rule in self._wanted.items()}

    def actual(self) -> Items:
        self._found = {
            _rule_key(found.rule, found.protocol, found.more): found
            for found in self._kernel.rules()
            if _is_ours(found) and (found.rule.preference in TAKEN_AWAY) == self._last
        }
        return {key: Item(spelling.action(found.rule)) for key, found in self._found.items()}

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        lines: dict[int, list[str]] = {family: [] for family in FAMILIES}
        for change in sorted(changes, key=self._turn):
            rule, found = self._wanted.get(change.key), self._found.get(change.key)
            # Add before delete: while a rule's table changes, its packets match the one or the other.
            if rule is not None:
                narrower = self._narrower(rule) if found is None else []
                lines[rule.family] += ["rule delete " + _spelled(other) for other in narrower]
                lines[rule.family].append("rule add " + spelling.rule(rule))
            if found is not None:
                lines[found.rule.family].append("rule delete " + _spelled(found))
        return _first([batch(["ip", "-%d" % family], lines[family]) for family in FAMILIES])

    def _turn(self, change: Change) -> int:
        """What comes, in the order of the plan; then what goes."""
        if change.action != "remove":
            return -1
        preference = self._found[change.key].rule.preference
        return TAKEN_AWAY.index(preference) if preference in TAKEN_AWAY else 0

    def _narrower(self, wanted: IpRule) -> list[KernelRule]:
        """Rules in the place of a wanted one that ask for more: to the kernel the wanted one may exist already."""
        return [found for found in self._found.values() if found.more and _asks_all(found.rule, wanted)]


class Routes(Resource):
    """Routes: those of the ``last`` resort's table, or of all other tables of ours.

    A route to a tunnel VIP that is local at the moment cannot be added, and need not be there: this node is the
    slot's master, and its packets have another mark, which keeps them away from the table.
    """

    def __init__(self, kernel: Kernel, plan: NodePlan | None, last: bool = False) -> None:
        self._kernel = kernel
        self._last = self.closes = last
        of_plan = routing.last_routes if last else routing.routes
        self._wanted = {_route_key(route): route for route in of_plan(plan)} if plan else {}
        self._found: dict[Key, KernelRoute] = {}

    def forget(self) -> None:
        self._kernel.forget()

    def desired(self) -> Items:
        local, there = self._kernel.addresses(), self.actual()
        items = {key: Item(_route_value(route), route.origin) for key, route in self._wanted.items()}
        return {
            key: item
            for key, item in items.items()
            if not _is_impossible(self._wanted[key], local) or (key in there and there[key].value == item.value)
        }

    def actual(self) -> Items:
        self._found = {
            _route_key(found.route): found
            for found in self._kernel.routes()
            if found.route.table >= FIRST_TABLE and (found.route.table == LAST_TABLE) == self._last
        }
        return {key: Item(_route_value(found.route, found.more)) for key, found in self._found.items()}

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        lines: dict[int, list[str]] = {family: [] for family in FAMILIES}
        for change in changes:
            if change.action == "remove":
                route = self._found[change.key].route
                lines[route.family].append("route delete " + spelling.route(route))
            else:
                route = self._wanted[change.key]
                lines[route.family].append("route replace " + spelling.route(route))
        return _first([batch(["ip", "-%d" % family], lines[family]) for family in FAMILIES])


def _is_ours(found: KernelRule) -> bool:
    """By protocol; or a mark of ours, in the place of our rules."""
    rule = found.rule
    if found.protocol == ROUTE_PROTOCOL:
        return True
    in_place = rule.preference == STEER_PREFERENCE and rule.mask in (MARK_MASK, PREFIX_MASK)
    return in_place and rule.mark is not None and is_own_mark(rule.mark)


def _is_impossible(route: IpRoute, local: frozenset[str]) -> bool:
    return route.via is not None and not route.onlink and route.via in local


def _asks_all(rule: IpRule, wanted: IpRule) -> bool:
    """Whether a rule has all that the wanted one asks for; to the kernel, what that leaves out stands for any."""
    return (
        (rule.family, rule.preference) == (wanted.family, wanted.preference)
        and wanted.source in (None, rule.source)
        and wanted.interface in (None, rule.interface)
        and (wanted.mark is None or (wanted.mark, wanted.mask) == (rule.mark, rule.mask))
    )


def _rule_key(rule: IpRule, protocol: int = ROUTE_PROTOCOL, more: str = "") -> Key:
    words = [spelling.selector(rule) or "from all"]
    words += [] if protocol == ROUTE_PROTOCOL else ["protocol %d" % protocol]
    words += [more] if more else []
    return Key("rule", rule.family, (rule.preference, " ".join(words)))


def _spelled(found: KernelRule) -> str:
    """All that it has: to the kernel, words that are left out stand for any."""
    return spelling.rule(found.rule, found.protocol) + (" " + found.more if found.more else "")


def _route_key(route: IpRoute) -> Key:
    metric = route.metric if route.metric is not None else DEFAULT_IPV6_METRIC if route.family == 6 else 0
    return Key("route", route.family, (route.destination or "default", route.table, metric))


def _route_value(route: IpRoute, more: str = "") -> str:
    kind = route.kind if route.kind != "unicast" else ""
    return " ".join(filter(None, [kind, spelling.next_hop(route), more]))


def _first(errors: Sequence[NodeError | None]) -> NodeError | None:
    return next((error for error in errors if error is not None), None)
