"""``move`` and ``--rebalance``: what people may move, and that nothing else does."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egress_compiler.allocate.placement import Unit, even_out
from egress_compiler.cli.move import pinned
from egress_compiler.model.lock import Lock
from egress_compiler.pipeline import Inputs, compile_bundle
from tests.properties.search import examples
from tests.properties.strategies import Json, cluster_object, document

EXAMPLE = Path(__file__).parents[2] / "examples" / "dual-stack-ha"
INPUTS = ["-p", "policies", "-c", "cluster.json", "-s", "settings.yaml", "-l", "egress.lock.json"]


def run(where: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "egress_compiler", *arguments]
    return subprocess.run(command, cwd=where, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A copy of dual-stack-ha: 10.6.1.61 on gw1, 10.6.1.60 and 10.6.1.62 on gw2."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "example"))


def lock_of(where: Path) -> Json:
    return dict(json.loads((where / "egress.lock.json").read_text()))


@pytest.mark.parametrize("eip", ["10.6.1.62", "fd00:10:6:1::62"])
def test_move_pins_one_eip_and_leaves_the_rest_of_the_lock_alone(example: Path, eip: str) -> None:
    before = lock_of(example)
    done = run(example, "move", *INPUTS, eip, "--to", "gw1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "10.6.1.62, fd00:10:6:1::62 by gw2 -> 10.6.1.62, fd00:10:6:1::62 by gw1" in done.stdout
    assert "open connections go on" in done.stdout
    after = lock_of(example)
    assert after["eips"].pop("internet/10.6.1.62") == {"node": "gw1", "pinned": True}
    assert before["eips"].pop("internet/10.6.1.62") == {"node": "gw2"}
    assert after == before
    assert sorted(path.name for path in example.iterdir()) == sorted(path.name for path in EXAMPLE.iterdir())


def test_compile_does_what_move_said_and_keeps_the_pin(example: Path) -> None:
    run(example, "compile", *INPUTS, "--out", "bundle")
    told = json.loads(run(example, "move", *INPUTS, "10.6.1.62", "--to", "gw1", "--format", "json").stdout)
    planned = json.loads(run(example, "plan", *INPUTS, "--against", "bundle", "--format", "json").stdout)
    assert told["written"]
    for key in ("policies", "sources", "eips", "nodes"):
        assert told[key] == planned[key]
    assert run(example, "compile", *INPUTS, "--out", "bundle", "--rebalance").returncode == 0
    assert lock_of(example)["eips"]["internet/10.6.1.62"] == {"node": "gw1", "pinned": True}


def test_unpin_leaves_it_where_it_is_and_free_to_move(example: Path) -> None:
    run(example, "move", *INPUTS, "10.6.1.62", "--to", "gw1")
    pin = json.loads(run(example, "status", *INPUTS, "--format", "json", "-n", "payments").stdout)
    assert (pin[0]["pinned"], pin[0]["pinWaits"]) == ("gw1", False)
    done = run(example, "move", *INPUTS, "fd00:10:6:1::62", "--unpin")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("unpinned. Compile writes the bundle.\n")
    assert lock_of(example)["eips"]["internet/10.6.1.62"] == {"node": "gw1"}
    again = json.loads(run(example, "move", *INPUTS, "10.6.1.62", "--unpin", "--format", "json").stdout)
    assert (again["written"], again["pinned"], again["node"], again["empty"]) == (False, False, "gw1", True)
    assert run(example, "move", *INPUTS, "10.6.1.62", "--unpin", "--to", "gw1").returncode == 64


def test_a_pin_that_waits_is_shown_and_can_be_given_up(example: Path) -> None:
    run(example, "move", *INPUTS, "10.6.1.62", "--to", "gw1")
    run(example, "compile", *INPUTS, "--out", "bundle")
    cluster = json.loads((example / "cluster.json").read_text())
    cluster["items"] = [item for item in cluster["items"] if item["metadata"]["name"] != "gw1"]
    (example / "less.json").write_text(json.dumps(cluster))
    less = ["less.json" if argument == "cluster.json" else argument for argument in INPUTS]
    planned = run(example, "plan", *less, "--against", "bundle")
    assert "gw1 -> gw2; it is pinned to gw1, and waits for it" in planned.stdout
    wide = run(example, "status", *less, "-o", "wide", "-n", "payments")
    assert wide.stdout.splitlines()[1].endswith(" (gw1)")
    assert "[pin-waits]" in wide.stderr
    assert run(example, "move", *less, "10.6.1.62", "--unpin").returncode == 0
    assert lock_of(example)["eips"]["internet/10.6.1.62"] == {"node": "gw2"}


def test_what_shares_an_address_moves_as_one(example: Path) -> None:
    gateway = next(path for path in (example / "policies").iterdir() if "EgressGateway" in path.read_text())
    default = "    ipv4DefaultEIP: 10.6.1.60\n    ipv6DefaultEIP: 'fd00:10:6:1::62'\n"
    gateway.write_text(gateway.read_text().replace("  ippools:\n", f"  ippools:\n{default}"))
    assert run(example, "move", *INPUTS, "10.6.1.62", "--to", "gw1").returncode == 0
    pinned_there = {"node": "gw1", "pinned": True}
    assert (
        lock_of(example)["eips"]["internet/10.6.1.60"] == lock_of(example)["eips"]["internet/10.6.1.62"] == pinned_there
    )


def test_a_dry_run_writes_nothing(example: Path) -> None:
    before = (example / "egress.lock.json").read_bytes()
    done = run(example, "move", *INPUTS, "10.6.1.62", "--to", "gw1", "--dry-run")
    assert done.stdout.endswith("Dry run: nothing was written.\n")
    assert (example / "egress.lock.json").read_bytes() == before


def test_pinning_where_it_is_changes_the_lock_file_alone(example: Path) -> None:
    done = run(example, "move", *INPUTS, "10.6.1.62", "--to", "gw2")
    assert "internet/10.6.1.62 is on gw2 already" in done.stdout
    assert lock_of(example)["eips"]["internet/10.6.1.62"]["pinned"]
    again = run(example, "move", *INPUTS, "10.6.1.62", "--to", "gw2")
    assert again.stdout.endswith("it was pinned there already.\n")


@pytest.mark.parametrize(
    ("eip", "node", "message", "hint"),
    [
        ("10.6.1.6", "gw1", "10.6.1.6 is no EIP", "did you mean '10.6.1.62'?"),
        (
            "10.6.1.65",
            "gw1",
            "10.6.1.65 is in the pool of EgressGateway internet, but no policy uses it",
            "did you mean",
        ),
        ("10.6.1", "gw1", "'10.6.1' is not an IP address", "did you mean '10.6.1.6"),
        ("10.6.1.62", "gw3", "'gw3' is no node", "did you mean 'gw2'?"),
        ("10.6.1.62", "worker1", "'worker1' is no gateway node of EgressGateway internet", "its nodes are: gw1, gw2"),
    ],
)
def test_what_is_unknown_is_named_with_the_nearest(example: Path, eip: str, node: str, message: str, hint: str) -> None:
    before = (example / "egress.lock.json").read_bytes()
    done = run(example, "move", *INPUTS, eip, "--to", node)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert hint in done.stderr
    assert (example / "egress.lock.json").read_bytes() == before


# -------------------------------------------------------------------------------------------------------- rebalancing

NODES = ("n1", "n2", "n3")


@examples(300)
@given(st.lists(st.sampled_from(NODES), max_size=30), st.sets(st.integers(0, 29)), st.integers(1, 3))
def test_units_of_one_policy_become_even_by_the_fewest_moves(where: list[str], fixed: set[int], nodes: int) -> None:
    names = NODES[:nodes]
    placed = {f"u{n}": node if node in names else names[0] for n, node in enumerate(where)}
    stay = frozenset(f"u{n}" for n in fixed if n < len(where))
    now = even_out([Unit(key, 1) for key in placed], names, placed, stay)
    assert all(now[key] == placed[key] for key in stay)
    load, before = (Counter({**dict.fromkeys(names, 0), **Counter(p.values())}) for p in (now, placed))
    moved = sum(now[key] != placed[key] for key in placed)
    if not stay:
        floor, rest = divmod(len(placed), nodes)
        assert max(load.values()) - min(load.values()) <= 1
        # The fullest nodes keep the bigger shares, so that this is the least that has to move.
        shares = sorted((floor + (n < rest) for n in range(nodes)), reverse=True)
        full = sorted(before.values(), reverse=True)
        assert moved == sum(max(0, have - share) for have, share in zip(full, shares, strict=True))
    assert even_out([Unit(key, 1) for key in placed], names, now, stay) == now


@examples(200)
@given(st.lists(st.tuples(st.integers(1, 9), st.sampled_from(NODES)), max_size=12))
def test_heavy_units_never_make_it_worse(weighed: list[tuple[int, str]]) -> None:
    units = [Unit(f"u{n}", weight) for n, (weight, _) in enumerate(weighed)]
    placed = {f"u{n}": node for n, (_, node) in enumerate(weighed)}
    now = even_out(units, NODES, placed, frozenset())

    def load(placement: dict[str, str]) -> list[int]:
        return [sum(unit.weight for unit in units if placement[unit.key] == node) for node in NODES]

    assert sum(n * n for n in load(now)) <= sum(n * n for n in load(placed))
    assert max(load(now)) <= max(load(placed))


def test_an_eip_moves_before_a_policy_whose_address_would_change() -> None:
    units = [Unit("EgressPolicy a/node", 1, keeps_address=False), Unit("internet/10.0.0.1", 1)]
    placed = dict.fromkeys((unit.key for unit in units), "n1")
    now = even_out(units, NODES[:2], placed, frozenset())
    assert now == {"EgressPolicy a/node": "n1", "internet/10.0.0.1": "n2"}


def test_rebalance_spreads_what_grew_on_one_node_and_no_address_changes(tmp_path: Path) -> None:
    def node(name: str, number: int) -> Json:
        status = {"addresses": [{"type": "InternalIP", "address": f"10.0.0.{number}"}]}
        spec = {"podCIDRs": [f"10.1.{number}.0/24"]}
        return cluster_object("Node", name, labels={"egress": "yes"}, spec=spec, status=status)

    selector = {"selector": {"matchLabels": {"egress": "yes"}}}
    gateway = {"clusterDefault": True, "ippools": {"ipv4": ["10.0.0.64/28"]}, "nodeSelector": selector}
    applied = {"podSelector": {"matchLabels": {"app": "web"}}}
    spec = {"egressIP": {"allocatorPolicy": "rr"}, "appliedTo": applied}
    policies = [document("EgressPolicy", f"p{n}", spec, "a") for n in range(6)]
    documents = [document("EgressGateway", "internet", gateway), *policies]
    (tmp_path / "policies.yaml").write_text("\n---\n".join(json.dumps(item) for item in documents))
    service = cluster_object("ServiceCIDR", "kubernetes", spec={"cidrs": ["10.2.0.0/24"]})

    def locked(*nodes: str, lock: Lock | None = None, rebalance: bool = False) -> Lock:
        items = [node(name, number) for number, name in enumerate(nodes, start=1)]
        (tmp_path / "cluster.json").write_text(json.dumps({"kind": "List", "items": [*items, service]}))
        inputs = Inputs((tmp_path / "policies.yaml",), (tmp_path / "cluster.json",), rebalance=rebalance)
        return compile_bundle(inputs, lock).allocation.lock

    one = locked("n1")
    two = locked("n1", "n2", lock=pinned(one, ["internet/10.0.0.65"], "n1"))
    assert {entry.node for entry in two.eips.values()} == {"n1"}
    even = locked("n1", "n2", lock=two, rebalance=True)
    assert Counter(entry.node for entry in even.eips.values()) == {"n1": 3, "n2": 3}
    assert even.eips["internet/10.0.0.65"].node == "n1"
    assert even.policies == one.policies
