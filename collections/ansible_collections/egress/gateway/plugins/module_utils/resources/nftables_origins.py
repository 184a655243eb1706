# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Where the objects of our nftables table come from: policies, EgressGateways and nodes, as the plan names them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ansible_collections.egress.gateway.plugins.module_utils.contract.numbers import (
    GATEWAY_MARK_PREFIX,
    answer_mark,
    node_mark,
)
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import FAMILIES, NodePlan, WorkerRole
from ansible_collections.egress.gateway.plugins.module_utils.contract.routing import slot_origin


def origins(plan: NodePlan) -> Mapping[str, str]:
    """By the name of a chain, and by the key of an element: no two kinds of keys look alike."""
    found = {peer.underlay: "node " + peer.node for peer in plan.kernel.peers}
    for peer in plan.kernel.peers:
        found[peer.mac] = "node " + peer.node
        if peer.reply_index is not None:
            found[_mark(node_mark(peer.reply_index))] = found["reply.%d" % peer.reply_index] = "node " + peer.node
    found.update(_of_worker(plan.worker))
    found.update(_of_gateway(plan))
    return found


def _of_worker(worker: WorkerRole) -> Iterator[tuple[str, str]]:
    met = {policy.name: policy.origin for policy in worker.policies}
    for name, origin in met.items():
        yield "policy." + name, origin
    for order in worker.orders:
        met[order.name] = ", ".join(met[name] for name in order.policies)
        yield "order." + order.name, met[order.name]
    for slot in worker.slots:
        yield "slot.%d" % slot.number, slot_origin(slot)
        yield "waits.%d" % slot.number, slot_origin(slot)
    for answer in worker.answers:
        yield "answer.%d" % answer.number, answer.origin
        yield _mark(answer_mark(answer.number)), answer.origin
    for family in FAMILIES:
        for source in (*worker.pods.of(family), *worker.subnets.of(family)):
            said = met.get(source.chain)
            yield source.source, "%s (%s)" % (source.owner, said) if said else source.owner


def _of_gateway(plan: NodePlan) -> Iterator[tuple[str, str]]:
    for address in plan.floating():
        yield address.address, address.origin
    for uplink in plan.uplink_tables():
        yield "uplink.%d" % uplink.number, "uplink " + uplink.interface
    for translation in plan.gateway.translations if plan.gateway else ():
        yield _mark(translation.number), translation.origin
        yield _mark(GATEWAY_MARK_PREFIX | translation.number), translation.origin


def _mark(value: int) -> str:
    return "0x%08x" % value
