"""Random bundles before the tools that read them, and the kernel's look-ups against the evaluator's."""

from __future__ import annotations

import random
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given

from egress_compiler.contract.plan import NodePlan
from tests.properties import membership
from tests.properties.compiled import compiled_or_reject
from tests.properties.membership import followed, histories, known
from tests.properties.nft_text import Lookup, Ruleset
from tests.properties.search import examples
from tests.properties.strategies import Json, Scenario, scenarios

_TYPE = re.compile(r"^\t(?:set|map) (\S+) \{\n\t\ttype (\S+)", re.MULTILINE)
_SPELLED: Mapping[str, tuple[int, Callable[[int], str]]] = {
    "ipv4_addr": (32, lambda value: str(IPv4Address(value))),
    "ipv6_addr": (128, lambda value: str(IPv6Address(value))),
    "mark": (32, hex),
    "ether_addr": (48, lambda value: value.to_bytes(6, "big").hex(":")),
}
"""By nft's type: bits of a key, and how it is written."""
_ELEMENTS = re.compile(r"elements = \{ ([^}]*?)\s*\}")
QUESTIONS = 12
"""Look-ups asked of the kernel for each node."""


@pytest.mark.lab
@examples(60)
@given(scenarios())
def test_tools_accept_every_file_and_the_kernel_finds_what_the_evaluator_finds(scenario: Scenario) -> None:
    compilation = compiled_or_reject(scenario)
    for plan in compilation.plans:
        prefix = f"nodes/{plan.node}/"
        files = {path.removeprefix(prefix): t for path, t in compilation.files.items() if path.startswith(prefix)}
        _check(plan, files)


@pytest.mark.lab
@examples(15)
@given(histories())
def test_the_kernel_takes_each_step_and_has_the_same_as_at_once(history: tuple[Scenario, list[list[Json]]]) -> None:
    scenario, moments = history
    compilation = compiled_or_reject(followed(scenario))
    for name, node in membership.nodes_of(compilation).items():
        plans = [node.static]
        for pods in moments:
            own = [pod for pod in pods if pod["spec"]["nodeName"] == name]
            plans.append(node.effective(known(own, scenario.objects)))
        steps = [node.files["nftables.nft"], *(node.commands(*pair) for pair in pairwise(plans))]
        assert _listed(steps) == _listed([node.ruleset(plans[-1])])


def _listed(texts: Sequence[str]) -> list[str]:
    """What the kernel lists of our table after these files, one after the other; blocks and elements are sorted."""
    with tempfile.TemporaryDirectory() as directory:
        for number, text in enumerate(texts):
            (Path(directory) / f"{number}.nft").write_text(text)
        commands = [f"nft -f {number}.nft" for number in range(len(texts))]
        done = subprocess.run(
            ["unshare", "--net", "sh", "-ec", "\n".join([*commands, "nft -s list table inet egress_gateway"])],
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, "\n".join([done.stderr, *texts])
    blocks = done.stdout.split("\n\t}\n")
    assert len(blocks) > 10
    return sorted(_ELEMENTS.sub(lambda found: str(sorted(re.split(r",\s+", found[1]))), block) for block in blocks)


def _check(plan: NodePlan, files: Mapping[str, str]) -> None:
    questions = list(_questions(files["nftables.nft"]))
    underlay, device = plan.kernel.tunnel.underlay, plan.kernel.interface
    script = [
        f"ip link add {device} type veth peer name peer && ip link set {device} up",
        # No IPv6 subnet, for further uplinks of these clusters lie in it: a next hop must not be on another device.
        f"ip address add {underlay}/{128 if ':' in underlay else 24} dev {device}",
        *(
            f"ip link add {name} type veth peer name peer.{number} && ip link set {name} up"
            for number, name in enumerate(uplink.interface for uplink in plan.uplink_tables())
            if name != device
        ),
        "ip -batch vxlan.batch && bridge -batch fdb.batch",
        "ip -batch routes.batch",
        "[ ! -e routes6.batch ] || ip -6 -batch routes6.batch",
        "nft -c -f nftables.nft && nft -f nftables.nft && nft -f nftables.nft",
        "[ ! -e keepalived.conf ] || keepalived --config-test --use-file=keepalived.conf",
        "set +e",
        *(
            f"echo '?'; nft get element inet egress_gateway {name} '{{ {address} }}' 2>/dev/null"
            for name, address, _ in questions
        ),
        "true",
    ]
    with tempfile.TemporaryDirectory() as directory:
        for name, text in files.items():
            (Path(directory) / name).write_text(text)
        done = subprocess.run(
            ["unshare", "--net", "sh", "-ec", "\n".join(script)],
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
    told = "\n".join([f"{plan.node}:", done.stderr, files["routes.batch"], files["nftables.nft"]])
    assert done.returncode == 0, told
    assert done.stderr == "", told
    for (name, address, found), answer in zip(questions, done.stdout.split("?\n")[1:], strict=True):
        if found is None:
            assert "elements" not in answer, f"{address} is in {name}: {answer}\n{told}"
        else:
            assert " ".join(found) in answer, f"{address} in {name} is {found}, not {answer}\n{told}"
            assert "elements" in answer, f"{address} is not in {name}\n{told}"


def _questions(text: str) -> Iterator[tuple[str, str, list[str] | None]]:
    """Set or map, a key at or beside an element's end, and what follows that element."""
    ruleset, dice, types = Ruleset(text), random.Random(len(text)), dict(_TYPE.findall(text))
    ends: list[tuple[str, Lookup, int]] = []
    for name, lookup in ruleset.lookups.items():
        for (first, last), _ in lookup.entries:
            ends += [(name, lookup, value) for value in (first - 1, first, last, last + 1)]
    for name, lookup, value in dice.sample(ends, min(QUESTIONS, len(ends))):
        bits, spelled = _SPELLED[types[name]]
        if 0 <= value < 1 << bits:
            yield name, spelled(value), lookup.find(value)
