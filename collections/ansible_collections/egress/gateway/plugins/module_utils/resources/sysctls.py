# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Kernel settings, and what they were before the first apply, so that absent can put them back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ansible_collections.egress.gateway.plugins.module_utils.contract.order import Phase, sysctl_phase
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import Sysctl
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources import originals
from ansible_collections.egress.gateway.plugins.module_utils.resources.key import Key
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import Change, Item, Items, Resource

ROUTER_SWITCHES = {
    "net/ipv4/ip_forward": "net/ipv4/conf",
    "net/ipv4/conf/all/forwarding": "net/ipv4/conf",
    "net/ipv6/conf/all/forwarding": "net/ipv6/conf",
}
"""Writing these changes others too: each device's forwarding, all/accept_redirects (devinet.c, addrconf.c)."""


class Sysctls(Resource):
    """The settings of a plan that exist from ``phase`` on; those that it no longer has go back to their original."""

    def __init__(self, paths: Paths, wanted: Sequence[Sysctl], phase: Phase, remember: bool = True) -> None:
        self._paths = paths
        self._wanted = [s for s in wanted if sysctl_phase(s.key) == phase]
        self._phase = phase
        self._remember = remember

    def desired(self) -> Items:
        items = {}
        wanted = {s.key: s for s in self._wanted}
        for key, original in sorted(self._originals().items(), key=_switches_first):
            if key not in wanted and not _moved_by(key, wanted) and self._value(key) is not None:
                items[_key(key)] = Item(original, "the value before the first apply")
        for key, sysctl in wanted.items():
            items[_key(key)] = Item(_normal(sysctl.value), sysctl.reason)
        return items

    def actual(self) -> Items:
        """Only the settings that ``desired`` names: the others are nobody's business here."""
        found = {wanted: self._value(str(wanted.parts[0])) for wanted in self.desired()}
        return {wanted: Item(value) for wanted, value in found.items() if value is not None}

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        self.remember()
        try:
            self._write(changes)
            self._write(self.difference())  # a router switch moves settings that were right before
        except OSError as error:
            return NodeError("sysctl %s: %s" % (error.filename, error.strerror))
        self._drop_restored()
        return None

    def _write(self, changes: Sequence[Change]) -> None:
        for change in changes:
            (self._paths.sysctls / str(change.key.parts[0])).write_text((change.after or "") + "\n", encoding="ascii")

    def remember(self) -> None:
        """Adds what is not remembered yet, with what goes along; what is remembered is never overwritten."""
        if not self._remember:
            return
        known = originals.read(self._paths)
        new: dict[str, str] = {}
        for sysctl in self._wanted:
            value = self._value(sysctl.key)
            if value is None or sysctl.key in known:
                continue
            new[sysctl.key] = value
            if value != _normal(sysctl.value):
                moved = ((key, self._value(key)) for key in self._companions(sysctl.key))
                new.update((key, found) for key, found in moved if found is not None)
        if new:
            originals.save(self._paths, {**new, **known})

    def _drop_restored(self) -> None:
        """Forgets what is no longer of the plan and back at its original: from here on it is somebody else's."""
        if not self._remember:
            return
        known = originals.read(self._paths)
        wanted = {s.key: s for s in self._wanted}
        kept = {
            key: value
            for key, value in known.items()
            if key in wanted
            or sysctl_phase(key) != self._phase
            or _moved_by(key, wanted)
            or self._value(key) not in (value, None)
        }
        if kept != known:
            originals.save(self._paths, kept)

    def _originals(self) -> Mapping[str, str]:
        """The remembered values that this resource may restore: those of our own device go with it."""
        if not self._remember:
            return {}
        return {key: value for key, value in originals.read(self._paths).items() if sysctl_phase(key) == self._phase}

    def _companions(self, switch: str) -> list[str]:
        root = ROUTER_SWITCHES.get(switch)
        if root is None:
            return []
        devices = sorted(entry.name for entry in (self._paths.sysctls / root).iterdir() if entry.name != "all")
        return [root + "/all/accept_redirects", *("%s/%s/forwarding" % (root, device) for device in devices)]

    def _value(self, key: str) -> str | None:
        """What the kernel has; None where it has no such setting."""
        try:
            return _normal((self._paths.sysctls / key).read_text(encoding="ascii", errors="replace"))
        except OSError:
            return None


def _key(name: str) -> Key:
    return Key.of("sysctl", name)


def _normal(value: str) -> str:
    return " ".join(str(value).split())


def _moved_by(key: str, wanted: Mapping[str, Sysctl]) -> bool:
    """Whether a switch of the plan changes ``key``: then its original has to wait until the switch goes back."""
    return any(
        switch in wanted and key.startswith(root + "/") and key.rsplit("/", 1)[1] in ("forwarding", "accept_redirects")
        for switch, root in ROUTER_SWITCHES.items()
    )


def _switches_first(item: tuple[str, str]) -> tuple[bool, str]:
    return (item[0] not in ROUTER_SWITCHES, item[0])
