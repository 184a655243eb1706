# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Rules and routes that bring a slot's packets to the tunnel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError, batch
from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import (
    FAMILIES,
    Kernel,
    KernelRoute,
    KernelRule,
)
from ansible_collections.egress.gateway.plugins.module_utils.node import (
    END_PREFERENCE,
    FIRST_TABLE,
    GATEWAY_MARK_PREFIX,
    LAST_PREFERENCE,
    LAST_TABLE,
    MARK_MASK,
    MARK_PREFIX,
    PREFIX_MASK,
    PROTOCOL,
    SKIP_PREFERENCE,
    STEER_PREFERENCE,
)
from ansible_collections.egress.gateway.plugins.module_utils.plan import Family, Plan, Route, Rule
from ansible_collections.egress.gateway.plugins.module_utils.resources.key import Key
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import Change, Item, Items, Resource

_TAKEN_AWAY = (LAST_PREFERENCE, SKIP_PREFERENCE, END_PREFERENCE)
"""The last resort's, in the order in which they may go: none refuses what a host sends while the others are missing."""
_IPV6_METRIC = 1024
"""What the kernel gives to an IPv6 route without metric."""


class Rules(Resource):
    """ip rules: the ``last`` resort's, or all others."""

    def __init__(self, kernel: Kernel, plan: Plan | None, last: bool = False) -> None:
        self._kernel = kernel
        self._last = self.closes = last
        self._wanted = (plan.last_resort.rules if last else plan.rules) if plan else ()
        self._found: dict[Key, KernelRule] = {}

    def forget(self) -> None:
        self._kernel.forget()

    def desired(self) -> Items:
        return {_rule_key(r, PROTOCOL): Item(_action(r), r.origin) for r in self._wanted}

    def actual(self) -> Items:
        self._found = {
            _rule_key(r, r.protocol): r
            for r in self._kernel.rules()
            if _is_ours(r) and (r.preference in _TAKEN_AWAY) == self._last
        }
        return {key: Item(_action(rule)) for key, rule in self._found.items()}

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        wanted = {_rule_key(r, PROTOCOL): r for r in self._wanted}
        errors = []
        for family in FAMILIES:
            lines = []
            for change in sorted(changes, key=self._turn):
                if change.key.family == family:
                    # Add before delete: while a rule's table changes, its packets match the one or the other.
                    if change.action == "create":
                        lines += ["rule delete " + _found_rule_words(r) for r in self._narrower(wanted[change.key])]
                    if change.action != "remove":
                        lines.append("rule add " + _rule_words(wanted[change.key], PROTOCOL))
                    if change.action != "create":
                        lines.append("rule delete " + _found_rule_words(self._found[change.key]))
            errors.append(batch(["ip", "-%d" % family], lines))
        return next((e for e in errors if e is not None), None)

    def _turn(self, change: Change) -> int:
        """What comes, in the order of the plan; then what goes."""
        if change.action != "remove":
            return -1
        preference = self._found[change.key].preference
        return _TAKEN_AWAY.index(preference) if preference in _TAKEN_AWAY else 0

    def _narrower(self, wanted: Rule) -> list[KernelRule]:
        """Rules in the place of a wanted one that ask for more: to the kernel the wanted one may exist already."""
        return [rule for rule in self._found.values() if rule.more and _asks_all(rule, wanted)]


class Routes(Resource):
    """The routes of the slots' tables.

    A route to a tunnel VIP that is local at the moment cannot be added, and need not be there: this node is the
    slot's master, and its packets have another mark, which keeps them away from the table.
    """

    def __init__(self, kernel: Kernel, plan: Plan | None) -> None:
        self._kernel = kernel
        self._wanted = plan.routes if plan else ()
        self._found: dict[Key, KernelRoute] = {}

    def forget(self) -> None:
        self._kernel.forget()

    def desired(self) -> Items:
        items = {}
        local = self._kernel.addresses()
        there = self.actual()
        for route in self._wanted:
            key = _route_key(route)
            value = _route_value(route)
            if (
                route.via is None
                or route.onlink
                or route.via not in local
                or (key in there and there[key].value == value)
            ):
                items[key] = Item(value, route.origin)
        return items

    def actual(self) -> Items:
        self._found = {
            Key("route", r.family, (_plain(r.kind), r.table, r.metric)): r
            for r in self._kernel.routes()
            if r.table >= FIRST_TABLE and r.table != LAST_TABLE
        }
        return {key: Item(_route_value(route)) for key, route in self._found.items()}

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        wanted = {_route_key(r): r for r in self._wanted}
        errors = []
        for family in FAMILIES:
            lines = []
            for change in changes:
                if change.key.family == family:
                    if change.action == "remove":
                        lines.append("route delete " + _found_words(self._found[change.key]))
                    else:
                        lines.append("route replace " + _route_words(wanted[change.key]))
            errors.append(batch(["ip", "-%d" % family], lines))
        return next((e for e in errors if e is not None), None)


def _is_ours(rule: KernelRule) -> bool:
    return rule.protocol == PROTOCOL or (
        rule.preference == STEER_PREFERENCE
        and rule.mask == MARK_MASK
        and rule.mark & PREFIX_MASK in (MARK_PREFIX, GATEWAY_MARK_PREFIX)
    )


class LastRoutes(Resource):
    """The table of the last resort: what is inside the cluster is thrown back, and all else goes nowhere."""

    closes = True

    def __init__(self, kernel: Kernel, plan: Plan | None) -> None:
        self._kernel = kernel
        self._last = plan.last_resort if plan else None

    def forget(self) -> None:
        self._kernel.forget()

    def desired(self) -> Items:
        last = self._last
        if last is None:
            return {}
        ends = {
            4: _last_key(4, "default", " via %s dev %s" % (last.via4, last.device4), ""),
            6: _last_key(6, "unreachable default", "", " metric %d" % _LAST_METRIC),
        }
        return {
            key: Item("present", "the last resort")
            for family in FAMILIES
            for key in (*(_last_key(family, "throw " + text, "", "") for text in last.inside[family]), ends[family])
            if last.inside[family]
        }

    def actual(self) -> Items:
        return {
            _found_last_key(r): Item("present" + (", " + r.more if r.more else ""))
            for r in self._kernel.routes()
            if r.table == LAST_TABLE
        }

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        errors = []
        for family in FAMILIES:
            lines = []
            # What goes, goes first: two routes of one destination are one to the kernel.
            for change in sorted(changes, key=lambda change: change.action != "remove"):
                if change.key.family == family:
                    what, hop, metric, table = change.key.parts
                    onlink = " onlink" if what == "default" and hop else ""
                    verb = "delete" if change.action == "remove" else "replace"
                    words = "%s%s%s table %s%s" % (what, hop, metric, table, onlink)
                    lines.append("route %s %s protocol %d" % (verb, words, PROTOCOL))
            errors.append(batch(["ip", "-%d" % family], lines))
        return next((e for e in errors if e is not None), None)


_LAST_METRIC = 4278198272
"""UNREACHABLE_METRIC of the compiler's numbers: behind whatever other route to everywhere is there."""


def _last_key(family: Family, what: str, hop: str, metric: str) -> Key:
    return Key("last route", family, (what, hop, metric, LAST_TABLE))


def _found_last_key(route: KernelRoute) -> Key:
    hop = " via %s dev %s" % (route.via, route.device) if route.via else ""
    metric = " metric %d" % route.metric if route.metric not in (0, _IPV6_METRIC) else ""
    return _last_key(route.family, route.kind.replace("unicast ", "", 1), hop, metric)


def _rule_key(rule: Rule | KernelRule, protocol: int) -> Key:
    words = [_selector(rule) or "from all"]
    words += [] if protocol == PROTOCOL else ["protocol %d" % protocol]
    words += [rule.more] if isinstance(rule, KernelRule) and rule.more else []
    return Key("rule", rule.family, (rule.preference, " ".join(words)))


def _asks_all(rule: KernelRule, wanted: Rule) -> bool:
    """Whether a rule has all that the wanted one asks for; to the kernel, what that leaves out stands for any."""
    return (
        (rule.family, rule.preference) == (wanted.family, wanted.preference)
        and wanted.source in ("", rule.source)
        and wanted.interface in ("", rule.interface)
        and (not wanted.mask or (wanted.mark, wanted.mask) == (rule.mark, rule.mask))
    )


def _selector(rule: Rule | KernelRule) -> str:
    """As ip rule writes it; empty for a rule that takes everything."""
    words = ["from " + rule.source] if rule.source else []
    words += ["iif " + rule.interface] if rule.interface else []
    words += ["fwmark 0x%08x/0x%08x" % (rule.mark, rule.mask)] if rule.mask else []
    return " ".join(words)


def _rule_words(rule: Rule | KernelRule, protocol: int) -> str:
    # Without "from" iproute2 refuses a rule that has nothing but a mark, in IPv6 ("from all" is refused there too).
    everyone = "from ::/0" if rule.family == 6 and not rule.source and rule.mask else ""
    words = ["preference %d" % rule.preference, everyone, _selector(rule), _action(rule), "protocol %d" % protocol]
    return " ".join(word for word in words if word)


def _action(rule: Rule | KernelRule) -> str:
    return rule.action or "table %d" % rule.table


def _found_rule_words(rule: KernelRule) -> str:
    """All that it has: to the kernel, words that are left out stand for any."""
    return _rule_words(rule, rule.protocol) + (" " + rule.more if rule.more else "")


def _metric(route: Route) -> int:
    if route.metric is not None:
        return route.metric
    return _IPV6_METRIC if route.family == 6 else 0


def _route_key(route: Route) -> Key:
    what = route.destination if route.device is not None else "unreachable " + route.destination
    return Key("route", route.family, (what, route.table, _metric(route)))


def _plain(kind: str) -> str:
    """A route's type and destination, the type left out where it is the usual one."""
    return kind[len("unicast ") :] if kind.startswith("unicast ") else kind


def _route_value(route: Route | KernelRoute) -> str:
    if isinstance(route, KernelRoute) and route.more.startswith("nexthop "):
        return route.more
    if route.device is None:
        return "unreachable"
    more = " " + route.more if isinstance(route, KernelRoute) and route.more else ""
    return ("via %s " % route.via if route.via else "") + "dev %s" % route.device + more


def _route_words(route: Route) -> str:
    if route.device is None:
        way = "unreachable " + route.destination
    else:
        way = "%s %s%s" % (route.destination, _route_value(route), " onlink" if route.onlink else "")
    metric = " metric %d" % route.metric if route.metric is not None else ""
    return "%s%s table %d protocol %d" % (way, metric, route.table, PROTOCOL)


def _found_words(route: KernelRoute) -> str:
    via = " " + _route_value(replace(route, more="")) if route.device is not None else ""
    metric = " metric %d" % route.metric if route.metric else ""
    return "%s%s%s table %d protocol %d" % (route.kind, via, metric, route.table, PROTOCOL)
