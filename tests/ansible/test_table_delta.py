"""A table that becomes another by a delta is the other one, and what did not change keeps its counters."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.conftest import COLLECTIONS, NODES, ROOT, Node, node_files, objects

pytestmark = pytest.mark.lab

ELEMENTS = re.compile(r"^\t\telements = \{\n(.*?)^\t\t\}\n", re.MULTILINE | re.DOTALL)
ELEMENT = re.compile(r"^\t{3}\S.*?,(?: #.*)?\n", re.MULTILINE)
RULE = re.compile(r"^\t\t(?!type|flags|elements|\}|\t)[^\n{]*\n", re.MULTILINE)


def changed(there: str, wanted: str) -> dict[str, Any]:
    return run([(there, wanted)])[0]


def run(pairs: list[tuple[str, str]]) -> list[dict[str, Any]]:
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-m", "tests.ansible.table_changes"],
        input=json.dumps(pairs),
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": f"{ROOT}:{COLLECTIONS}", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def mutated(ruleset: str, dice: random.Random) -> str:
    """The ruleset without some of its elements and rules, some rules twice and some in another order."""

    def some(match: "re.Match[str]") -> str:
        left = ELEMENT.sub(lambda m: m.group() if dice.random() > 0.2 else "", match.group(1))
        return f"\t\telements = {{\n{left}\t\t}}\n" if left else ""  # nft takes no empty list

    text = ELEMENTS.sub(some, ruleset)

    def rule(match: "re.Match[str]") -> str:
        return dice.choice([match.group()] * 5 + ["", match.group() * 2, f"\t\tcounter\n{match.group()}"])

    return RULE.sub(rule, text)


def test_any_table_becomes_any_other(bundle_dir: Path) -> None:
    """Every mutation is a small change; a worker's table becomes a gateway's and back by what it takes."""
    originals = [node_files(bundle_dir, node)["nftables.nft"] for node in NODES]
    dice = random.Random(7)
    pairs = [(a, b) for a in originals[1:3] for b in originals[1:3]]
    for _ in range(12):
        original = dice.choice(originals)
        pairs.append((mutated(original, dice), mutated(original, dice)))
    results = run(pairs)
    assert [(r["left"], r["error"]) for r in results] == [([], "")] * len(pairs)
    assert not any(r["whole"] for r in results)
    assert sum(len(r["differed"]) for r in results) > 200


def test_a_pod_more_is_an_element_more(bundle_dir: Path) -> None:
    """The rest of the table, its rules' handles and counters, is as it was."""
    wanted = node_files(bundle_dir, "worker1")["nftables.nft"]
    element = next(m.group() for m in ELEMENT.finditer(wanted) if ": goto policy.egp.shop.web" in m.group())
    pod, _, verdict = element.strip().partition(",")[0].partition(" : ")
    result = changed(wanted.replace(element, ""), wanted)
    assert result["script"] == f"add element inet egress_gateway governed_pods4 {{ {pod} : {verdict} }}\n"
    assert (result["left"], result["error"]) == ([], "")


@pytest.mark.parametrize("goes", ["element", "rule", "chain"])
def test_a_repair_keeps_the_counters_of_the_others(gateway: Node, bundle_dir: Path, goes: str) -> None:
    files = node_files(bundle_dir, "gw1")
    gateway.apply(files)
    counted = files["nftables.nft"].replace("counter drop", "counter packets 7 bytes 700 drop")
    lost = {
        "element": re.sub(r"\t{3}10\.6\.1\.61,\n", "", counted, count=1),
        "rule": counted.replace("\t\tip saddr vmap @governed_subnets4\n", ""),
        "chain": re.sub(
            r"(goto|jump) leave_or_drop|\tchain leave_or_drop \{\n.*?\n\t\}\n", chain_less, counted, flags=re.S
        ),
    }[goes]
    gateway.lab.exec("gw1", ["nft", "-f", "-"], stdin=lost)
    before = counters(gateway)
    assert gateway.apply(files)["changed"]
    assert gateway.verify(files) == []
    assert set(before) <= set(counters(gateway)), "with their handles"
    assert len(before) > 3


def chain_less(match: "re.Match[str]") -> str:
    return "drop" if match.group(1) else ""


def counters(node: Node) -> list[str]:
    return re.findall(r".*packets 7 bytes 700.*", node.run("nft", "-a", "list", "table", "inet", "egress_gateway"))


def test_what_a_delta_cannot_do_a_replacement_does(gateway: Node, bundle_dir: Path) -> None:
    """A base chain at another hook, and another type of set: both are made anew with the table."""
    files = node_files(bundle_dir, "gw1")
    gateway.apply(files)
    other = files["nftables.nft"].replace("priority srcnat + 10", "priority srcnat + 11")
    gateway.lab.exec("gw1", ["nft", "-f", "-"], stdin=other)
    assert objects(gateway.verify(files)) == ["chain guard"]
    assert objects(gateway.apply(files)["changes"]) == ["chain guard"]
    assert gateway.verify(files) == []
