# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
"""Which open connections end when a plan changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.egress.gateway.plugins.module_utils import connections
from ansible_collections.egress.gateway.plugins.module_utils.connections import end_connections, may_end, to_end
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import (
    Answer,
    Both,
    GatewayRole,
    KernelPart,
    LastResort,
    NodePlan,
    PolicyAnswer,
    PolicyChain,
    PolicyOrder,
    Source,
    Translation,
    Tunnel,
    WorkerRole,
)
from ansible_collections.egress.gateway.plugins.module_utils.kernel import conntrack
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import Finished, NodeError
from ansible_collections.egress.gateway.plugins.module_utils.kernel.conntrack import parse

POD, OTHER, NODE = "10.244.3.10", "10.244.3.20", "10.244.3.1"
FAR, NEAR = "203.0.113.10", "198.51.100.10"
WEB, CLOSE = "EgressPolicy shop/web", "EgressPolicy shop/near"
EIP, EIP2, EIP3 = "10.6.1.61", "10.6.1.62", "10.6.1.63"
NOTHING: Both[Any] = Both((), ())


def answer(number: int, slot: int = 1, eip: str | None = EIP, origin: str = WEB, gone: bool = False) -> Answer:
    return Answer(number, slot, origin, Both(eip, None), gone)


FIRST = answer(1)


def worker(
    web: Answer | None = FIRST,
    owner: str = "shop/web-1",
    cut: tuple[str, ...] = (),
    gone: tuple[Answer, ...] = (),
    direct: bool = False,
    subnets: tuple[Source, ...] = (),
) -> NodePlan:
    """POD meets a policy about NEAR, which leaves with answer 2, and then one about everything."""
    near = PolicyChain("near", CLOSE, Both(PolicyAnswer(("198.51.100.0/24",), 2), None))
    rest = PolicyChain("web", WEB, Both(PolicyAnswer((), web.number if web else None, direct), None))
    answers = (*((web,) if web else ()), answer(2, 2, EIP2, CLOSE), *gone)
    role = WorkerRole(
        pods=Both((Source(POD, "both", owner),), ()),
        subnets=Both(subnets, ()),
        policies=(near, rest),
        orders=(PolicyOrder("both", ("near", "web")),),
        answers=answers,
        slots=(),
    )
    tunnel = Tunnel("egress.vxlan", 1, 7789, "192.168.1.1", 1400, "66:65:67:00:00:01", ())
    kernel = KernelPart((4,), "eth0", tunnel, None, (), ())
    last = LastResort("eth0", NOTHING, NOTHING, NOTHING, NOTHING)
    return NodePlan(2, "n", "worker", Both(("10.244.0.0/16",), ()), kernel, role, None, last, cut)


def gateway(*translations: Translation, cut: tuple[str, ...] = ()) -> NodePlan:
    """Without pods of its own."""
    role = GatewayRole(translations, NOTHING, NOTHING, NOTHING, (), (), (), (), (), None, False, 1)
    plan = replace(worker(), role="gateway", gateway=role, cut=cut)
    return replace(plan, worker=WorkerRole(NOTHING, NOTHING, (), (), (), ()))


def gives(number: int, eip: str = EIP, origin: str = WEB, gone: bool = False) -> Translation:
    return Translation(number, 1, origin, Both(eip, None), Both(0, 0), gone=gone)


def listed(source: str, destination: str, mark: int, translated: str = "", zone: str = "", server: str = "") -> str:
    return "tcp      6 300 ESTABLISHED src=%s dst=%s sport=4000 dport=443 src=%s dst=%s sport=443 dport=4000 " % (
        source,
        destination,
        server or destination,
        translated or source,
    ) + "[ASSURED] mark=%d%s use=1\n" % (mark, zone)


STEERED = listed(POD, FAR, 0x26000001) + listed(POD, NEAR, 0x26000002) + listed(POD, OTHER, 0)
STRANGERS = (
    listed(OTHER, FAR, 0)
    + listed(FAR, POD, 0)
    + listed(POD, FAR, 0x26000005, zone=" zone=7")
    + "icmp 1 29 src=%s dst=%s type=8 code=0 id=7\n" % (OTHER, FAR)
)
ZONE = " zone=9767"
TRANSLATED = listed(POD, FAR, 0x27000001, EIP, ZONE) + listed(POD, NEAR, 0x2F000002, EIP2, " zone-orig=9767")
BOTH = (gives(1), gives(2, EIP2, CLOSE))


def ended(
    before: NodePlan | None, after: NodePlan | None, everything: bool, text: str = STEERED + STRANGERS, **more: Any
) -> list[tuple[str, str]]:
    return [(e.source, e.destination) for e, _why in to_end(before, after, parse(text), everything, **more)]


def test_what_leaves_as_before_stays() -> None:
    assert ended(worker(), worker(), everything=True) == []
    assert ended(gateway(*BOTH), gateway(*BOTH), everything=True, text=TRANSLATED + STRANGERS) == []
    assert not may_end(worker(), worker(), everything=False)


def test_another_answer_ends_what_began_with_the_old_one_and_only_when_told_so() -> None:
    new = answer(3, eip=EIP3)
    assert ended(worker(), worker(new), everything=True) == [(POD, FAR)]
    assert ended(worker(), worker(new), everything=False) == []
    assert ended(worker(), worker(new, cut=(WEB,)), everything=False) == [(POD, FAR)]
    assert ended(worker(cut=(WEB,)), worker(new), everything=False) == [(POD, FAR)]
    assert ended(worker(), worker(new, cut=(CLOSE,)), everything=False) == []


def test_what_was_kept_once_ends_in_a_later_run_that_cuts() -> None:
    now = worker(answer(3, eip=EIP3), gone=(answer(1, gone=True),))
    assert ended(now, now, everything=True) == [(POD, FAR)]
    unknown = worker(answer(3, eip=EIP3))
    assert ended(unknown, unknown, everything=True) == [(POD, FAR)]


def test_an_eip_that_moved_to_another_slot_or_policy_ends_nothing() -> None:
    assert ended(worker(), worker(answer(1, slot=7)), everything=True) == []
    assert ended(worker(), worker(answer(3)), everything=True) == [], "the same EIP, by another policy"


def test_the_address_of_another_node_is_another_address() -> None:
    assert ended(worker(answer(1, 1, None)), worker(answer(1, 1, None)), everything=True) == []
    assert ended(worker(answer(1, 1, None)), worker(answer(1, 7, None)), everything=True) == [(POD, FAR)]


def test_what_was_open_before_the_first_policy_ends_only_in_a_run_that_cuts() -> None:
    unsteered = listed(POD, FAR, 0) + listed(POD, OTHER, 0)
    assert ended(None, worker(), everything=True, text=unsteered) == [(POD, FAR)]
    assert ended(None, worker(), everything=False, text=unsteered) == []
    assert ended(None, worker(direct=True), everything=True, text=unsteered) == []
    assert ended(None, worker(None), everything=True, text=unsteered) == [(POD, FAR)], "refused now"


def test_what_no_policy_governs_any_more_ends_with_everything() -> None:
    assert len(ended(worker(), None, everything=True)) == 2
    assert len(ended(gateway(*BOTH), None, everything=True, text=TRANSLATED)) == 2


def test_the_destination_is_the_one_behind_dnat() -> None:
    text = listed(POD, "10.96.0.7", 0x26000002, server=NEAR) + listed(POD, FAR, 0, server=OTHER)
    assert ended(worker(), worker(), everything=True, text=text) == []


def test_the_nodes_own_addresses_are_no_pods() -> None:
    subnet = Source("10.244.3.0/24", "web", "podSubnet")
    text = listed(NODE, FAR, 0) + listed(OTHER, FAR, 0)
    assert ended(worker(subnets=(subnet,)), worker(subnets=(subnet,)), True, text, local=[NODE]) == [(OTHER, FAR)]


def test_a_pod_does_not_inherit_what_another_one_had_open() -> None:
    again = worker(owner="shop/web-2")
    assert may_end(worker(), again, everything=False)
    assert len(ended(worker(), again, everything=False)) == 3


def test_a_gateway_keeps_what_is_gone_until_it_is_to_be_cut() -> None:
    now = gateway(gives(1, gone=True), BOTH[1], gives(3, EIP3))
    assert ended(gateway(*BOTH), now, everything=False, text=TRANSLATED) == []
    assert ended(gateway(*BOTH), now, everything=True, text=TRANSLATED) == [(POD, FAR)]
    cutting = gateway(gives(1, gone=True), BOTH[1], gives(3, EIP3), cut=(WEB,))
    assert ended(gateway(*BOTH), cutting, everything=False, text=TRANSLATED) == [(POD, FAR)]
    assert ended(gateway(*BOTH, cut=(WEB,)), now, everything=False, text=TRANSLATED) == [(POD, FAR)]
    assert ended(gateway(*BOTH), gateway(BOTH[1]), everything=True, text=TRANSLATED) == [(POD, FAR)]


def test_a_gateway_ends_what_began_anew_on_its_pods_node() -> None:
    """The worker was told to cut: the next packet of the connection has another number than the one it is bound to."""
    plan = gateway(gives(1, gone=True), BOTH[1], gives(3, EIP3))
    assert may_end(plan, plan, everything=False)
    text = listed(POD, FAR, 0x27000003, EIP, ZONE) + listed(POD, NEAR, 0x27000002, EIP2, ZONE)
    ((connection, why),) = to_end(plan, plan, parse(text), False)
    assert (connection.destination, why) == (FAR, "begun anew with another answer")


def test_numbers_are_read_beside_the_index_of_the_pods_node() -> None:
    text = listed(POD, FAR, 0x27000001 | 1023 << 14, EIP, ZONE)
    assert ended(gateway(*BOTH), gateway(*BOTH), everything=True, text=text) == []
    assert ended(gateway(*BOTH), gateway(BOTH[1]), everything=True, text=text) == [(POD, FAR)]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    commands: list[list[str]] = []

    def run(argv: list[str], check: bool = True) -> Finished:
        commands.append(argv)
        return Finished(0, TRANSLATED if argv[1:] == ["-L", "-f", "ipv4"] else "", "")

    monkeypatch.setattr(conntrack, "run", run)
    monkeypatch.setattr(conntrack, "find", lambda tool: "/usr/sbin/" + tool)
    monkeypatch.setattr(connections.Kernel, "addresses", lambda self: frozenset())
    return commands


def test_entries_are_deleted_one_by_one_in_their_zone(ran: list[list[str]]) -> None:
    told = end_connections(gateway(*BOTH), gateway(BOTH[1]), True, check_only=True)
    assert [(t.source, t.connections, t.reason) for t in told] == [(POD, 1, "cut, as this run says")]
    assert [argv for argv in ran if "-D" in argv] == []
    end_connections(gateway(*BOTH), None, True, check_only=False)
    ends = ["conntrack", "-D", "-f", "ipv4", "-p", "tcp", "-s", POD]
    ports = ["--sport", "4000", "--dport", "443"]
    assert [argv for argv in ran if "-D" in argv] == [
        [*ends, "-d", FAR, *ports, "--zone", "9767"],
        [*ends, "-d", NEAR, *ports, "--orig-zone", "9767"],
    ]


def test_without_conntrack_nothing_is_said_unless_something_is_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conntrack, "find", lambda tool: None)
    new = worker(answer(3, eip=EIP3))
    assert end_connections(worker(), new, False, check_only=False) == []
    with pytest.raises(NodeError, match="not installed"):
        end_connections(worker(), new, True, check_only=False)
