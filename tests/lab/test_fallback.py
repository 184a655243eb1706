"""Without any gateway, what an EgressGateway with a fallback governs leaves with the node's address, and comes back."""

from collections.abc import Iterator

import pytest

from egress_compiler.lab import ProbeTarget
from egress_compiler.lab.drill import wait_for
from egress_compiler.lab.example import RunningExample
from tests.lab.by_hand import applied
from tests.lab.gateways import write_example

pytestmark = pytest.mark.lab
GATEWAYS = ("gw1", "gw2")
POD, NODES_OWN = "drill/one-worker1", ["10.6.1.13", "fd00:10:6:1::13"]
EIPS = ["10.6.1.61", "fd00:10:6:1::61"]
ANNOTATION = "  name: internet\n  annotations:\n    egressgateway.spidernet.io/fallback: nodeIP\n"


@pytest.fixture(scope="module")
def falling_back(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningExample]:
    directory = write_example(tmp_path_factory.mktemp("fallback") / "example")
    policies = directory / "policies" / "policies.yaml"
    policies.write_text(policies.read_text().replace("  name: internet\n", ANNOTATION, 1))
    with applied(directory, "fallback") as running:
        yield running


def seen(running: RunningExample, pod: str = POD) -> list[str | None]:
    """With which addresses new connections arrive: TCP and UDP, IPv4 and IPv6."""
    outside = running.lab.topology.outside
    targets = [ProbeTarget(p, a) for a in (outside.far4[0], outside.far6[0]) for p in ("tcp", "udp")]
    return [result.seen for result in running.lab.probe(pod, targets, timeout=1)]


def both(addresses: list[str]) -> list[str | None]:
    return [address for address in addresses for _ in range(2)]


def test_new_connections_take_the_nodes_address_while_no_gateway_answers(falling_back: RunningExample) -> None:
    lab = falling_back.lab
    assert seen(falling_back) == both(EIPS)
    lab.cut("gw1")
    for _ in range(10):
        assert set(seen(falling_back)) <= {*EIPS, None}, "the other gateway has it: no reason to fall back"
    lab.cut("gw2")
    found: list[str | None] = []

    def fell_back() -> bool:
        now = seen(falling_back)
        found.extend(now)
        return now == both(NODES_OWN)

    wait_for(fell_back, "the node's own address", 40)
    assert set(found) <= {*EIPS, *NODES_OWN, None}, "a pod's own address never leaves"
    for gateway in GATEWAYS:
        lab.restore(gateway)
    wait_for(lambda: seen(falling_back) == both(EIPS), "the egress IPs again", 40)
