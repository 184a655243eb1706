"""What the lock file says, held against what came of it: nothing of it is given up in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from egress_compiler.allocate.allocation import Allocation
from egress_compiler.allocate.answers import cursor
from egress_compiler.allocate.eips import pair_named
from egress_compiler.diagnostics import Collector, counted, listing, nearest, quoted
from egress_compiler.model.lock import EipLock, Lock, PolicyLock, SlotLock
from egress_compiler.model.policy import Gateway
from egress_compiler.model.settings import Settings
from egress_compiler.net import AddressError, contains, parse_address
from egress_compiler.resolve import Resolved
from egress_compiler.source import Position

_EDITED = "take back what compile wrote; after a merge, compile again and commit what it writes"
_SHARED = (
    "EgressGateways have other nodes in common than before, or the file was merged: "
    "apply the change to all of them together"
)


def check_lock(lock: Lock, resolved: Resolved, allocation: Allocation, settings: Settings, found: Collector) -> None:
    """A warning for every entry that could not be used, and for every pin that waits for its node.

    What is left of policies, nodes and slots that are gone is no news: every change of the cluster leaves some.  The
    EIPs that policies had are looked at in ``withdrawn``.
    """
    judge = _Judge(lock, resolved, allocation, found)
    judge.numbers("nodes", lock.nodes, allocation.lock.nodes)
    for name in ("slot", "vrid", "vip"):
        number = _number(name)
        before, after = ({key: number(entry) for key, entry in of.slots.items()} for of in (lock, allocation.lock))
        if name == "vip":
            # Who leaves an instance leaves its tunnel VIP, too: the VRID has said so.
            together = Counter((entry.vrid, entry.vip) for entry in lock.slots.values())
            before = {k: vip for k, vip in before.items() if together[lock.slots[k].vrid, vip] == 1}
        if name == "vrid":
            judge.numbers("slots", before, after, name, hint=_SHARED, meet=judge.have_common_nodes)
        else:
            judge.numbers("slots", before, after, name)
    judge.answers(settings)
    judge.gateways()
    judge.policies()
    for key, entry in sorted(lock.eips.items()):
        judge.eip(key, entry)


def _number(name: str) -> Callable[[SlotLock], int]:
    return lambda entry: int(getattr(entry, name))


@dataclass(frozen=True, slots=True)
class _Judge:
    lock: Lock
    resolved: Resolved
    allocation: Allocation
    found: Collector

    def _at(self, *path: str) -> Position | None:
        return self.lock.document.at(*path) if self.lock.document is not None else None

    def _key_at(self, *path: str) -> Position | None:
        return self.lock.document.key_at(*path) if self.lock.document is not None else None

    def _unusable(self, message: str, place: Position | None, hint: str = "") -> None:
        self.found.warning("lock-entry", message, place, hint=hint)

    def numbers(
        self,
        section: str,
        before: Mapping[str, int],
        after: Mapping[str, int],
        *path: str,
        hint: str = _EDITED,
        meet: Callable[[str, str], bool] = lambda _key, _other: True,
    ) -> None:
        """Numbers that two have who ``meet``, or that are out of the range that the settings give."""
        owners: dict[int, list[str]] = {}
        for key in sorted(after):
            owners.setdefault(after[key], []).append(key)
        what = path[0] if path else {"answers": "number"}.get(section, "index")
        for key in sorted(before.keys() & after.keys()):
            number, now = before[key], after[key]
            if number != now:
                kept = [owner for owner in owners.get(number, ()) if before.get(owner) == number]
                owner = next((owner for owner in kept if meet(key, owner)), None)
                why = f"is {owner}'s, too" if owner is not None else "is out of range"
                self._unusable(
                    f"the {what} {number} of {key} {why}: it is {now} from now on",
                    self._at(section, key, *path),
                    hint=hint,
                )

    def have_common_nodes(self, key: str, other: str) -> bool:
        """Of two slots."""
        one, two = (self.allocation.slots[self.allocation.lock.slots[name].slot].order for name in (key, other))
        return not set(one).isdisjoint(two)

    def answers(self, settings: Settings) -> None:
        """Answer numbers that cannot stay, those that match foreign marks by the mark; and a cursor that is none."""
        before, after = dict(self.lock.answers), self.allocation.lock.answers
        last, start = self.lock.last_answer, cursor(before, self.lock.last_answer)
        for index, mark in enumerate(settings.foreign_marks):
            moved = {key: n for key, n in before.items() if mark.matches(n) and key in after and after[key] != n}
            if moved:
                self._unusable(
                    f"{counted(len(moved), 'answer number matches', 'answer numbers match')} the foreign mark {mark}: "
                    f"{listing([f'{key} has {after[key]} in place of {moved[key]}' for key in sorted(moved)])} "
                    "from now on",
                    self._mark_place(index, settings) or self._at("answers", min(moved)),
                    hint="until all nodes have the change, rules that match the mark take packets of the tunnel",
                )
            before = {key: number for key, number in before.items() if key not in moved}
        self.numbers("answers", before, after)
        owners = {number: key for key, number in self.allocation.lock.answers.items()}
        for key, entry in sorted(self.lock.gone.items()):
            owner = owners.get(entry.number)
            if owner is not None and owner != key and self.lock.answers.get(owner) == entry.number:
                self._unusable(
                    f"the number {entry.number} of {key}, which is gone, is {owner}'s: it is forgotten",
                    self._at("gone", key, "number"),
                    hint=_EDITED,
                )
        if self.lock.answers and last != start:
            self._unusable(
                "there is no lastAnswer" if last is None else f"the lastAnswer {last} is out of range",
                self._at("lastAnswer") if last is not None else self._key_at("answers"),
                hint=f"take back what compile wrote; new answer numbers are taken above {start}",
            )

    def _mark_place(self, index: int, settings: Settings) -> Position | None:
        document = settings.document
        return document.at("foreignMarks", index) if document and document.has("foreignMarks", index) else None

    def gateways(self) -> None:
        """Default EIPs that are no addresses of the pool; where the gateway says them, nobody looks here."""
        for name, entry in sorted(self.lock.gateways.items()):
            resolved = self.resolved.gateways.get(name)
            if resolved is None:
                continue
            now = self.allocation.lock.gateways.get(name)
            for field, text in (("ipv4DefaultEIP", entry.ipv4), ("ipv6DefaultEIP", entry.ipv6)):
                given = resolved.gateway.default_eip[4 if field == "ipv4DefaultEIP" else 6]
                if text and given is None and now is not None and not self._is_settled(resolved.gateway, text):
                    new = now.ipv4 if field == "ipv4DefaultEIP" else now.ipv6
                    self._unusable(
                        f"the default EIP {quoted(text)} is not in the pool of EgressGateway {name}: "
                        f"{f'it is {new}' if new else 'there is none'} from now on",
                        self._at("gateways", name, field),
                    )

    def policies(self) -> None:
        """Allocations of gateways that do not exist; what else is wrong with them is told in ``withdrawn``."""
        for policy in self.resolved.policies:
            key = str(policy.policy.ref)
            entry = self.lock.policies.get(key)
            if entry is None or entry == self.allocation.lock.policies[key]:
                continue
            if entry.node and policy.policy.use_node_ip and entry.gateway == policy.gateway.name:
                now = self.allocation.lock.policies[key]
                self._check_node(key, entry.gateway, entry.node, now, "policies")
            if entry.gateway not in self.resolved.gateways:
                self._unusable(
                    f"{key} was given its EIP by EgressGateway {quoted(entry.gateway)}, which does not exist: "
                    "it is given one anew",
                    self._at("policies", key, "gateway"),
                    hint=nearest(entry.gateway, self.resolved.gateways),
                )

    def eip(self, key: str, entry: EipLock) -> None:
        """An EIP that no gateway has, under another name than its own, or away from the node of its pin."""
        if key in self.allocation.groups and not entry.pinned:
            now = self.allocation.lock.eips.get(key)
            self._check_node(key, key.partition("/")[0], entry.node, now, "eips")
            return
        name, _, text = key.partition("/")
        resolved = self.resolved.gateways.get(name)
        if resolved is None:
            if entry.pinned or "/" not in key:
                self._unusable(
                    f"{quoted(key)}: there is no EgressGateway {quoted(name)}, and so no such EIP",
                    self._key_at("eips", key),
                )
            return
        pair = pair_named(resolved.gateway, text)
        if pair is None:
            problem = _problem(text)
            if problem or entry.pinned or not self._was_given(name, text):
                message = problem or f"{text} is not in the pool of EgressGateway {name}"
                self._unusable(message, self._key_at("eips", key))
        elif pair.text != text:
            message = f"{quoted(key)} is not how the lock file names an EIP"
            self._unusable(message, self._key_at("eips", key), hint=f"write {name}/{pair.text}")
        elif entry.pinned and key in self.allocation.groups:
            self._check_pin(key, name, entry)

    def _is_settled(self, gateway: Gateway, text: str) -> bool:
        """Whether the pool has the address or gave it up, or that it has not is told of the policies that had it."""
        try:
            family, value = parse_address(text)
        except AddressError:
            return False
        known = contains(gateway.pool[family], value) or contains(gateway.released[family], value)
        return known or self._was_given(gateway.name, text)

    def _check_node(self, what: str, gateway: str, node: str, now: EipLock | PolicyLock | None, section: str) -> None:
        """A node on which no run can have put anything: it has no slot in the lock.  One that had left is no news."""
        if now is not None and now.node != node and f"{gateway}/{node}" not in self.lock.slots:
            message = f"no run put {what} on {quoted(node)}: it is on {now.node} from now on"
            self._unusable(message, self._at(section, what, "node"))

    def _was_given(self, gateway: str, text: str) -> bool:
        return any(e.gateway == gateway and text in (e.ipv4, e.ipv6) for e in self.lock.policies.values())

    def _check_pin(self, key: str, gateway: str, entry: EipLock) -> None:
        now = self.allocation.lock.eips[key]
        members = {node.name for node in self.resolved.gateways[gateway].nodes}
        if not now.meanwhile and entry.node in members:
            return
        cluster = self.resolved.cluster
        known = any(node.name == entry.node for node in cluster.nodes)
        why = f"is no node of EgressGateway {gateway}" if known else "is not in the cluster"
        if entry.node in cluster.others:
            why = cluster.others[entry.node].why
        if entry.node in members:
            others = ", ".join(other for other in self.allocation.groups[key] if other != key)
            why = f"is not where {others} is pinned, which shares an address with it"
        where = f"on {now.meanwhile} until then" if now.meanwhile else "on no node until then"
        self.found.warning(
            "pin-waits",
            f"{key} is pinned to {quoted(entry.node)}, which {why}: it is {where}",
            self._at("eips", key, "node"),
            hint=f"the pin holds again once that is a node of the gateway; to give it up: egress-compiler move "
            f"{key.partition('/')[2]} --unpin",
        )


def _problem(text: str) -> str:
    """Why ``text`` is no address; '' where it is one."""
    try:
        parse_address(text)
    except AddressError as problem:
        return str(problem)
    return ""
