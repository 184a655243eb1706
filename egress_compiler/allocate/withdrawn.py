"""EIPs that policies leave with and that their pools no longer have: nobody loses one unless the gateway says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from egress_compiler.allocate.allocation import Allocation
from egress_compiler.diagnostics import Collector, Related, listing, quoted
from egress_compiler.model.lock import GatewayLock, Lock, PolicyLock
from egress_compiler.model.policy import RELEASED_KEY, Gateway
from egress_compiler.net import Address, AddressError, contains, format_address, parse_address
from egress_compiler.resolve import Resolved, ResolvedPolicy


class _Loss(NamedTuple):
    """An address that a gateway's policies lose; ``after`` is what they would leave with, '' for nothing."""

    gateway: str
    address: Address
    after: str


def check_withdrawn(
    lock: Lock, imported: Mapping[str, PolicyLock], resolved: Resolved, allocation: Allocation, found: Collector
) -> None:
    """An error for every EIP that the lock promised and the pool no longer has.

    Not where the policy itself asks for another, where the gateway releases the address, or where ``imported`` says
    what the policy has.
    """
    losses: dict[_Loss, list[ResolvedPolicy]] = {}
    for policy in resolved.policies:
        key = str(policy.policy.ref)
        before = lock.policies.get(key)
        if before is None or before.gateway != policy.gateway.name or key in imported:
            continue
        now = allocation.lock.policies[key]
        if (now.ipv4, now.ipv6) == (before.ipv4, before.ipv6):
            continue
        written = _was_written(lock, before)
        _report_edited(lock, key, before, now, found, whole=not written)
        if written and not _asks_for_another(policy, before, lock):
            for address in _gone(policy.gateway, before):
                loss = _Loss(policy.gateway.name, address, now.ipv4 if address.family == 4 else now.ipv6)
                losses.setdefault(loss, []).append(policy)
    for loss, policies in losses.items():
        _report(loss, policies, resolved.gateways[loss.gateway].gateway, found)


def _gone(gateway: Gateway, before: PolicyLock) -> Iterator[Address]:
    """The addresses of ``before`` that the pool has no more, though nobody released them."""
    for family, text in ((4, before.ipv4), (6, before.ipv6)):
        try:
            address = parse_address(text)
        except AddressError:
            continue
        pools = (gateway.pool[address.family], gateway.released[address.family])
        if address.family == family and not any(contains(pool, address.value) for pool in pools):
            yield address


def _asks_for_another(policy: ResolvedPolicy, before: PolicyLock, lock: Lock) -> bool:
    """Whether the policy was changed, too: it names another EIP, or takes the default or the node's address now."""
    texts = {4: before.ipv4, 6: before.ipv6}
    wanted = {family: value for family, value in policy.policy.eip.items() if value is not None}
    if policy.policy.use_node_ip or any(format_address(f, value) != texts[f] for f, value in wanted.items()):
        return True
    default = lock.gateways.get(before.gateway, GatewayLock())
    return policy.takes_default and not before.kept and (default.ipv4, default.ipv6) != (before.ipv4, before.ipv6)


def _family_of(text: str) -> str:
    """``ipv4`` or ``ipv6``; '' where it is no address."""
    try:
        return f"ipv{parse_address(text).family}"
    except AddressError:
        return ""


def _was_written(lock: Lock, before: PolicyLock) -> bool:
    """Whether compile wrote the entry: then the EIP has its node in the lock, unless no EIP of the gateway had one."""
    prefix = f"{before.gateway}/"
    placed = (key for key, entry in lock.eips.items() if key.startswith(prefix) and not entry.pinned)
    return prefix + (before.ipv4 or before.ipv6) in lock.eips or next(placed, None) is None


def _report(loss: _Loss, policies: list[ResolvedPolicy], gateway: Gateway, found: Collector) -> None:
    text, family = format_address(*loss.address), loss.address.family
    names = listing([str(policy.policy.ref) for policy in policies])
    leaves, who, whose = ("leaves", "it", "the policy") if len(policies) == 1 else ("leave", "they", "one of them")
    then = f"leave with {loss.after}" if loss.after else f"have no IPv{family} EIP"
    found.error(
        "eip-withdrawn",
        f"{text} is no longer in the pool of EgressGateway {loss.gateway}, and {names} {leaves} with it: {who} "
        f"would {then} from now on",
        gateway.document.key_at("spec", "ippools", f"ipv{family}"),
        hint=f'put it back; or give it up on purpose, with the annotation {RELEASED_KEY}: "{text}" of the gateway',
        related=(Related(whose, policies[0].policy.document.at("metadata", "name")),),
    )


def _report_edited(lock: Lock, key: str, before: PolicyLock, now: PolicyLock, found: Collector, *, whole: bool) -> None:
    """A warning for what was never given out: the ``whole`` entry, or texts that are no address of their family."""
    for field, text, given in (("ipv4", before.ipv4, now.ipv4), ("ipv6", before.ipv6, now.ipv6)):
        if text and text != given and (whole or _family_of(text) != field):
            place = lock.document.at("policies", key, field) if lock.document is not None else None
            found.warning(
                "lock-entry",
                f"{key}: no run gave out {quoted(text)}; it leaves with {given or 'nothing of that family'}",
                place,
                hint="take back what compile wrote",
            )
