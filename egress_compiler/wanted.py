"""What each policy wants: its gateway and the EIP that it names, as the policy files decide it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from egress_compiler.diagnostics import Collector, Related, listing, nearest, quoted
from egress_compiler.document import Places
from egress_compiler.model.policy import DEFAULT_GATEWAY_LABEL, Gateway, Policy, PolicySet
from egress_compiler.net import FAMILIES, Family, contains, format_address, nth, rank
from egress_compiler.validate.pools import pool_hint

Labels = Mapping[str, str]


class Wanted(NamedTuple):
    """A policy with its gateway.  ``eip`` has what the user asked for, a missing partner filled in."""

    policy: Policy
    gateway: Gateway
    eip: Mapping[Family, int | None]


def wanted_by(policy_set: PolicySet, namespaces: Mapping[str, Labels] | None, found: Collector) -> tuple[Wanted, ...]:
    """The policies whose gateway is known, in the order in which packets meet them; errors go to ``found``.

    ``namespaces`` are the labels of the cluster's namespaces, None where there is no cluster: then nothing is said of a
    policy whose namespace might name its gateway, nor of gateways where the files have none.
    """
    chooser = _GatewayChooser(policy_set, namespaces)
    wanted: list[Wanted] = []
    for policy in sorted(policy_set.policies, key=lambda policy: policy.order):
        gateway = chooser.choose(policy, found)
        if gateway is not None:
            wanted.append(Wanted(policy, gateway, _wanted_eip(policy, gateway, found)))
    _check_broken(policy_set.broken, chooser, found)
    return tuple(wanted)


class _GatewayChooser:
    """The gateway of a policy: the one it names, else its namespace's default, else the cluster's."""

    def __init__(self, policy_set: PolicySet, namespaces: Mapping[str, Labels] | None) -> None:
        self._gateways = {gateway.name: gateway for gateway in policy_set.gateways}
        self._refused = policy_set.refused_gateways
        # Where something could not be read, the gateway that seems to be missing may stand in there.
        self._quiet = policy_set.incomplete or "" in policy_set.refused_gateways
        self._quiet |= namespaces is None and not policy_set.gateways
        self._default = next((g for g in policy_set.gateways if g.cluster_default), None)
        self._namespaces = namespaces

    def choose(self, policy: Policy, found: Collector) -> Gateway | None:
        """None after reporting, where the gateway itself has errors that were reported, and where it cannot be told."""
        if self._namespaces is None and policy.namespaced and policy.gateway is None:
            return None
        labels = (self._namespaces or {}).get(policy.ref.namespace, {})
        name = policy.gateway or labels.get(DEFAULT_GATEWAY_LABEL) or None
        gateway = self._gateways.get(name) if name is not None else self._default
        if gateway is not None:
            return None if gateway.name in self._refused else gateway
        if not self._quiet and name is not None:
            self._report_unknown(policy, name, found)
        elif not self._quiet and not self._refused:
            label = f"label the namespace {DEFAULT_GATEWAY_LABEL}, " if policy.namespaced else ""
            found.error(
                "no-gateway",
                f"{policy.ref} names no gateway, and there is no default",
                policy.document.at("spec", "egressGatewayName")
                if policy.document.has("spec", "egressGatewayName")
                else policy.document.key_at("spec"),
                hint=f"write egressGatewayName ({self._existing()}), {label}or set clusterDefault: true on one "
                "EgressGateway",
            )
        return None

    def _report_unknown(self, policy: Policy, name: str, found: Collector) -> None:
        if nearest(name, self._refused):
            # It may be that gateway's name that is wrong.
            return
        if policy.gateway:
            message, place = f"there is no EgressGateway {quoted(name)}", ("spec", "egressGatewayName")
        else:
            message = f"the label {DEFAULT_GATEWAY_LABEL} of the namespace {policy.ref.namespace} names the "
            message += f"EgressGateway {quoted(name)}, which does not exist"
            place = ("metadata", "namespace")
        hint = nearest(name, self._gateways) or self._existing()
        found.error("unknown-gateway", message, policy.document.at(*place), hint=hint)

    def _existing(self) -> str:
        return f"there are: {listing(sorted(self._gateways), 8)}" if self._gateways else "there is none in the input"


def _check_broken(policies: Sequence[Policy], chooser: _GatewayChooser, found: Collector) -> None:
    """What can be said of policies with errors without knowing what they should have been."""
    for policy in policies:
        document = policy.document
        gateway = None if _gateway_faulty(document) else chooser.choose(policy, found)
        if gateway is not None and not document.faulty("spec", "egressIP"):
            _wanted_eip(policy, gateway, found)


def _gateway_faulty(document: Places) -> bool:
    """Whether the gateway's name is wrong, or stands under a mistyped key or in a wrong place."""
    strangers = [str(fault[-1]) for fault in document.faults if fault and isinstance(fault[-1], str)]
    return document.faulty("spec", "egressGatewayName") or any(nearest(s, ["egressGatewayName"]) for s in strangers)


def _wanted_eip(policy: Policy, gateway: Gateway, found: Collector) -> Mapping[Family, int | None]:
    """The addresses that the policy names, checked against the pool, the partner of a pair filled in."""
    eip = dict(policy.eip)
    if policy.use_node_ip:
        return eip
    if not gateway.families:
        found.error(
            "empty-pool",
            f"EgressGateway {gateway.name} has no EIPs: only policies with useNodeIP can use it",
            policy.document.key_at("spec", "egressGatewayName"),
            hint="add addresses to its ippools, or set egressIP.useNodeIP: true",
            related=(Related("the gateway", gateway.document.at("metadata", "name")),),
        )
        return {4: None, 6: None}
    wanted = ((family, value) for family in FAMILIES if (value := eip[family]) is not None)
    outside = [(family, value) for family, value in wanted if not contains(gateway.pool[family], value)]
    for family, value in outside:
        found.error(
            "not-in-pool",
            f"{format_address(family, value)} is not in the IPv{family} pool of EgressGateway {gateway.name}",
            policy.document.at("spec", "egressIP", f"ipv{family}"),
            hint=pool_hint(family, gateway.pool[family]),
            related=(Related("the pool", gateway.document.key_at("spec", "ippools", f"ipv{family}")),),
        )
    if outside:
        return {4: None, 6: None}
    if len(gateway.families) == 2:
        _complete_pair(policy, gateway, eip, found)
    return eip


def _complete_pair(policy: Policy, gateway: Gateway, eip: dict[Family, int | None], found: Collector) -> None:
    """The partner of the one address that is named; of two an error where they are no pair, nor the default EIPs."""
    if None not in eip.values() and eip == gateway.default_eip:
        return
    both: tuple[tuple[Family, Family], ...] = ((4, 6), (6, 4))
    for family, other in both:
        value = eip[family]
        if value is None:
            continue
        try:
            partner = nth(gateway.pool[other], rank(gateway.pool[family], value))
        except IndexError:
            return
        if eip[other] is None:
            eip[other] = partner
        elif eip[other] != partner:
            found.error(
                "not-a-pair",
                f"{format_address(4, eip[4] or 0)} and {format_address(6, eip[6] or 0)} are no pair of "
                f"EgressGateway {gateway.name}",
                policy.document.at("spec", "egressIP", f"ipv{other}"),
                hint=f"the partner of {format_address(family, value)} is {format_address(other, partner)}; "
                "one of the two is enough",
            )
            return
