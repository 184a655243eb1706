# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""The one loop for everything on a node: desired, actual, difference, fix, read again.

A resource is a set of objects of one kind. It says what is wanted and what is there, as items by key; the loop
finds the difference and asks the resource to fix it, and believes only what it reads afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.resources.key import Key

Action = Literal["create", "modify", "remove"]


@dataclass(frozen=True)
class Item:
    """One object: ``value`` is compared; ``origin`` names the policy or plan entry that it comes from.

    ``fields`` are the values that the text ``value`` is made of, by name, where there are several.
    """

    value: str
    origin: str = ""
    fields: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """What has to happen to one object; ``before`` or ``after`` is None where it is not there.

    ``fields`` names those that differ of an object that is there and has several.
    """

    key: Key
    action: Action
    before: str | None
    after: str | None
    origin: str
    fields: frozenset[str] = frozenset()

    def as_dict(self) -> dict[str, str | None]:
        return {
            "object": str(self.key),
            "action": self.action,
            "before": self.before,
            "after": self.after,
            "origin": self.origin,
        }


Items = Mapping[Key, Item]


class Resource:
    """All objects of one kind. ``desired`` and ``actual`` MUST NOT change anything.

    ``fix`` brings about the given changes as far as it can and returns the first error instead of raising it,
    for the loop decides by what it then reads. ``atomic`` resources remove in the same step as they create. One with
    several ``attempts`` has another way to fix what is left after the first.
    """

    atomic = False
    attempts = 1
    closes = False
    """Whether it keeps governed packets in by itself."""

    def desired(self) -> Items:
        raise NotImplementedError

    def actual(self) -> Items:
        raise NotImplementedError

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        raise NotImplementedError

    def forget(self) -> None:
        """Called when the kernel may have changed; drops what was read from it."""

    def difference(self) -> tuple[Change, ...]:
        return difference(self.desired(), self.actual())


class NotConverged(NodeError):
    """Objects are not as wanted although everything was tried; carries the failed command where there was one."""

    def __init__(self, rest: Sequence[Change], cause: NodeError | None) -> None:
        objects = listed([change.key for change in rest])
        super().__init__("could not %s %s%s" % (rest[0].action, objects, ": %s" % cause if cause else ""))
        if cause is not None:
            self.failed_command = cause.failed_command


def difference(desired: Items, actual: Items) -> tuple[Change, ...]:
    """In the order of the desired items, then what is there and not wanted."""
    changes = []
    for key, item in desired.items():
        found = actual.get(key)
        if found is None:
            changes.append(Change(key, "create", None, item.value, item.origin))
        elif found.value != item.value:
            origin = item.origin or found.origin
            changes.append(
                Change(key, "modify", found.value, item.value, origin, _differing(item.fields, found.fields))
            )
    for key, item in actual.items():
        if key not in desired:
            changes.append(Change(key, "remove", item.value, None, item.origin or "not in the plan"))
    return tuple(changes)


def _differing(one: Mapping[str, object], other: Mapping[str, object]) -> frozenset[str]:
    return frozenset(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def settle(resource: Resource, actions: Sequence[Action]) -> tuple[Change, ...]:
    """Fixes the changes of these kinds and reads again; what there was to fix. NotConverged when some remain."""

    def pending() -> tuple[Change, ...]:
        return tuple(c for c in resource.difference() if c.action in actions or resource.atomic)

    resource.forget()
    changes = rest = pending()
    cause = None
    for _attempt in range(resource.attempts):
        if not rest:
            break
        cause = resource.fix(rest)
        resource.forget()
        rest = pending()
    if rest:
        raise NotConverged(rest, cause)
    return changes


def bring(resources: Sequence[Resource]) -> list[Change]:
    """Creates and changes in order, then removes in reverse order: nothing is taken away before it is replaced."""
    done = [change for resource in resources for change in settle(resource, ("create", "modify"))]
    removing = [resource for resource in reversed(resources) if not resource.atomic]
    return done + [change for resource in removing for change in settle(resource, ("remove",))]


def clear(resources: Sequence[Resource]) -> list[Change]:
    """For resources that want nothing: all in reverse order."""
    return [change for resource in reversed(resources) for change in settle(resource, ("create", "modify", "remove"))]


def listed(objects: Sequence[object]) -> str:
    """The first five, for a sentence."""
    return ", ".join(map(str, objects[:5])) + (" and %d more" % (len(objects) - 5) if len(objects) > 5 else "")


def shortened(change: Change, limit: int = 2000) -> Change:
    """The change with values cut to a length that a report can carry."""

    def cut(text: str | None) -> str | None:
        return text if text is None or len(text) <= limit else text[:limit] + "..."

    return replace(change, before=cut(change.before), after=cut(change.after))
