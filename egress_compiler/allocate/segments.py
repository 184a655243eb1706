"""EgressGateways whose gateway nodes hear each other's VRRP: those that are connected by nodes they share."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def connected(nodes: Mapping[str, Collection[str]]) -> tuple[tuple[str, ...], ...]:
    """The keys in groups, all sorted: two keys with a common node are in one group, and so are those between them."""
    gateways: dict[str, list[str]] = {}
    for key, names in nodes.items():
        for name in names:
            gateways.setdefault(name, []).append(key)
    groups: list[tuple[str, ...]] = []
    seen: set[str] = set()
    for first in sorted(nodes):
        group, waiting = set[str](), [first]
        while waiting:
            key = waiting.pop()
            if key not in seen:
                seen.add(key)
                group.add(key)
                waiting += [other for name in nodes[key] for other in gateways.pop(name, ())]
        if group:
            groups.append(tuple(sorted(group)))
    return tuple(groups)
