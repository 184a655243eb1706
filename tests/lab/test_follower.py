"""A node that follows its pods, in the kernel: whatever comes, goes, changes, hangs or is not there."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.conftest import COLLECTIONS, EXAMPLE, GATEWAYS, compiled, node_files
from tests.follower.node import WEB_EIPS, FollowingLab, files_of, following_lab
from tests.follower.watching import Outside
from tests.lab.open_connection import OpenConnection

pytestmark = pytest.mark.lab

WEB, API, BATCH = "shop/web-5d8f7c9b6d-4kq2x", "payments/api-7b6c54d9f8-h2j4l", "ops/batch-28c7q"
ADDRESSES = {
    WEB: ["10.244.3.10", "fd00:10:244:3::a"],
    API: ["10.244.3.20", "fd00:10:244:3::14"],
    BATCH: ["10.244.3.40", "fd00:10:244:3::28"],
}
LABELS = {WEB: {"app": "web"}, API: {"app": "api"}, BATCH: {"app": "batch"}}
ASK = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(30)
s.connect("/run/egress-gateway/follow.sock")
s.sendall(sys.argv[1].encode() + b"\\n")
print(s.makefile().readline())
"""


@pytest.fixture(scope="module")
def shared(lab_means: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FollowingLab]:
    settings = "podStart: gate\ngate: {timeoutSeconds: 3}\n"
    with following_lab(f"test-{os.getpid()}-follower", tmp_path_factory.mktemp("f"), settings) as lab:
        yield lab


@pytest.fixture
def lab(shared: FollowingLab) -> FollowingLab:
    """With the example's three pods of the node and nothing else, all of them known."""
    shared.say("heal")
    for namespace, labels in (("shop", {}), ("ops", {}), ("payments", {"pci": "true"})):
        shared.say("add_namespace", name=namespace, labels=labels)
    for pod in (WEB, API, BATCH):
        put(shared, pod)
    for left in ("reuses", "next"):
        with contextlib.suppress(RuntimeError):  # of a test that failed
            shared.say("delete_pod", namespace="payments", name=left)
    shared.node.signal_agent("CONT")
    wanted = {"10.244.3.10": "policy.egp.shop.web", "10.244.3.20": "order.egp.payments.bank_and1_"}
    shared.until(lambda: names(shared.elements()) == names(wanted))
    shared.until(lambda: shared.status()["synced"])
    return shared


def names(elements: dict[str, str]) -> dict[str, str]:
    """Without the digest of an order."""
    return {address: chain.rpartition("_and1_")[0] or chain for address, chain in elements.items()}


def put(lab: FollowingLab, pod: str, labels: dict[str, str] | None = None, name: str = "", **more: Any) -> None:
    namespace, _, usual = pod.partition("/")
    lab.say(
        "add_pod",
        **{
            "namespace": namespace,
            "name": name or usual,
            "node": "worker1",
            "ips": ADDRESSES.get(pod, []),
            "labels": LABELS[pod] if labels is None else labels,
            **more,
        },
    )


def delete(lab: FollowingLab, pod: str) -> None:
    namespace, _, name = pod.partition("/")
    lab.say("delete_pod", namespace=namespace, name=name)


def far(lab: FollowingLab) -> list[str]:
    outside = lab.lab.topology.outside
    return [outside.far4[0], outside.far6[0]]


def gate(lab: FollowingLab, **request: Any) -> dict[str, Any]:
    """What the follower answers to the gate."""
    found: dict[str, Any] = json.loads(lab.node.run(sys.executable, "-c", ASK, json.dumps(request)))
    return found


def generation(lab: FollowingLab) -> str:
    """Of the node's nftables: another one after each transaction."""
    script = "from ansible_collections.egress.gateway.plugins.module_utils.kernel import nft_generation as n\n"
    script += "print(n.nft_generation())"
    return lab.lab.exec("worker1", [sys.executable, "-c", script], env={"PYTHONPATH": str(COLLECTIONS)}).stdout


def forget_at_gateways(lab: FollowingLab) -> None:
    """What earlier tests sent from the same address: a port that comes again would find their translation there."""
    for gateway in GATEWAYS:
        lab.lab.exec(gateway, ["conntrack", "-F"])


def test_pods_leave_as_their_policies_say_and_verify_agrees(lab: FollowingLab) -> None:
    for family in (0, 1):
        assert lab.seen(WEB, far(lab)[family]) == WEB_EIPS[family]
        assert lab.seen(BATCH, far(lab)[family]) == ("10.6.1.21", "fd00:10:6:1::21")[family]
    assert lab.node.verify(files_of(lab.bundle, "worker1")) == []
    assert lab.status()["governed"] == 2


def test_a_pod_that_goes_and_comes_back(lab: FollowingLab) -> None:
    delete(lab, WEB)
    lab.until(lambda: "10.244.3.10" not in lab.elements() and "fd00:10:244:3::a" not in lab.elements(6))
    assert lab.seen(WEB, far(lab)[0]) == "10.6.1.21"
    rules = lab.node.run("ip", "rule", "list")
    assert "10.244.3.10" not in rules
    put(lab, WEB)
    lab.until(lambda: "10.244.3.10" in lab.elements())
    assert lab.seen(WEB, far(lab)[0]) == WEB_EIPS[0]
    assert lab.node.verify(files_of(lab.bundle, "worker1")) == []


def test_labels_of_pods_and_namespaces(lab: FollowingLab) -> None:
    put(lab, WEB, {"app": "other"})
    lab.until(lambda: "10.244.3.10" not in lab.elements())
    put(lab, WEB)
    lab.until(lambda: "10.244.3.10" in lab.elements())
    lab.say("add_namespace", name="payments", labels={"pci": "false"})
    lab.until(lambda: lab.elements()["10.244.3.20"] == "policy.egp.payments.bank")
    lab.say("add_namespace", name="payments", labels={"pci": "true"})
    lab.until(lambda: lab.elements()["10.244.3.20"].startswith("order."))
    assert lab.node.verify(files_of(lab.bundle, "worker1")) == []


def test_open_connections_stay_as_they_are_when_labels_change(lab: FollowingLab) -> None:
    open_before = [OpenConnection(lab.lab, WEB, address) for address in far(lab)]
    assert [connection.seen for connection in open_before] == list(WEB_EIPS)
    put(lab, WEB, {"app": "other"})
    lab.until(lambda: "10.244.3.10" not in lab.elements())
    assert [connection.says("still here") for connection in open_before] == ["still here"] * 2
    assert lab.seen(WEB, far(lab)[0]) == "10.6.1.21"
    put(lab, WEB)
    lab.until(lambda: "10.244.3.10" in lab.elements())
    assert [connection.says("and now") for connection in open_before] == ["and now"] * 2
    for connection in open_before:
        connection.close()


@pytest.mark.parametrize("signal", ["KILL", "STOP"])
def test_a_follower_that_is_killed_or_hangs_is_replaced_and_nothing_leaks(lab: FollowingLab, signal: str) -> None:
    (old,) = lab.follower()
    kept = OpenConnection(lab.lab, WEB, far(lab)[0])
    with Outside(lab.lab) as outside, outside.talking(WEB):
        lab.node.shell(f"kill -{signal} {old}")
        put(lab, API, {"app": "none"})
        lab.until(lambda: lab.follower() not in ([old], []) and lab.status()["synced"], 60)
        lab.until(lambda: "10.244.3.20" not in lab.elements())
        seen = outside.seen()
    assert seen.keys() == set(WEB_EIPS)
    assert kept.says("still here") == "still here"
    kept.close()
    put(lab, API)
    lab.until(lambda: "10.244.3.20" in lab.elements())
    assert lab.node.verify(files_of(lab.bundle, "worker1")) == []


def test_without_the_api_what_is_known_stays_also_when_everything_starts_anew(lab: FollowingLab) -> None:
    (old,) = lab.follower()
    with Outside(lab.lab) as outside, outside.talking(WEB):
        lab.say("down")
        lab.until(lambda: not lab.status()["synced"])
        assert "Connection refused" in lab.status()["reason"]
        lab.node.shell(f"kill -KILL {old}")
        lab.until(lambda: lab.follower() not in ([old], []))
        lab.node.shell("nft delete table inet egress_gateway")
        lab.until(lambda: "10.244.3.10" in lab.elements(), 10)
        lab.say("up")
        lab.until(lambda: lab.status()["synced"])
        seen = outside.seen()
    assert seen.keys() == set(WEB_EIPS)
    delete(lab, WEB)
    lab.until(lambda: "10.244.3.10" not in lab.elements())


def test_a_storm_of_410_changes_nothing(lab: FollowingLab) -> None:
    before = generation(lab)
    with Outside(lab.lab) as outside, outside.talking(WEB):
        lab.say("misbehave", name="gone-event", verb="watch", times=12)
        for _ in range(12):
            lab.say("cut")
            time.sleep(0.1)
        lab.say("compact")
        lab.until(lambda: lab.status()["synced"])
        put(lab, BATCH, {"app": "other"})
        lab.until(lambda: '"app": "other"' in lab.node.run("cat", "/var/lib/egress-gateway/known.json"))
        seen = outside.seen()
    assert generation(lab) == before
    assert seen.keys() == set(WEB_EIPS)


def test_an_address_that_passes_to_another_pod_by_the_api_alone(lab: FollowingLab) -> None:
    """The new pod is known when the old one's deletion is not told yet; what the old one had open ends."""
    old = OpenConnection(lab.lab, WEB, far(lab)[0])
    marks = "conntrack -L -s 10.244.3.10 -p tcp 2>/dev/null | wc -l"
    assert int(lab.node.shell(marks)) > 0
    put(lab, API, name="reuses", ips=ADDRESSES[WEB])
    lab.until(lambda: lab.elements()["10.244.3.10"].startswith("order."))
    lab.until(lambda: int(lab.node.shell(marks)) == 0)
    delete(lab, WEB)
    forget_at_gateways(lab)
    with Outside(lab.lab) as outside, outside.talking(WEB):
        time.sleep(0.5)
        seen = outside.seen()
    assert not set(WEB_EIPS) & seen.keys()
    assert lab.elements()["10.244.3.10"].startswith("order.")
    old.close()
    lab.say("delete_pod", namespace="payments", name="reuses")
    lab.until(lambda: "10.244.3.10" not in lab.elements())


def test_the_gate_hands_an_address_on_before_the_api_knows(lab: FollowingLab) -> None:
    """DEL and ADD again and again: whatever the new pod sends has its own egress IP, never the old pod's."""
    put(lab, API, name="next", ips=[], phase="Pending")
    web = {"namespace": "shop", "name": WEB.partition("/")[2], "uid": ""}
    for turn in range(3):
        assert gate(lab, do="add", container=f"web{turn}", addresses=ADDRESSES[WEB], **web) == {"ok": True}
        assert lab.elements()["10.244.3.10"] == "policy.egp.shop.web"
        assert gate(lab, do="check", container=f"web{turn}", addresses=ADDRESSES[WEB]) == {"ok": True}
        assert gate(lab, do="delete", container=f"web{turn}", addresses=ADDRESSES[WEB]) == {"ok": True}
        assert "10.244.3.10" not in lab.elements()
        new = {"namespace": "payments", "name": "next", "uid": ""}
        assert gate(lab, do="add", container=f"next{turn}", addresses=ADDRESSES[WEB], **new) == {"ok": True}
        forget_at_gateways(lab)
        with Outside(lab.lab) as outside, outside.talking(WEB):
            time.sleep(0.3)
            seen = outside.seen()
        assert seen
        assert not {*WEB_EIPS, "10.6.1.21", "fd00:10:6:1::21"} & seen.keys()
        assert gate(lab, do="delete", container=f"next{turn}", addresses=ADDRESSES[WEB]) == {"ok": True}
    lab.say("delete_pod", namespace="payments", name="next")
    assert gate(lab, do="gc", containers=[]) == {"ok": True}
    delete(lab, WEB)
    lab.until(lambda: "10.244.3.10" not in lab.elements())


def test_a_pod_that_the_api_does_not_tell_of_fails_at_the_gate(lab: FollowingLab) -> None:
    request = {"do": "add", "container": "lost", "addresses": ["10.244.3.77"], "namespace": "shop", "name": "lost"}
    answer = gate(lab, uid="u", **request)
    assert answer["ok"] is False
    assert "within 3 s" in answer["reason"]
    assert gate(lab, uid="u", **{**request, "namespace": "kube-system"}) == {"ok": True}
    assert gate(lab, do="delete", container="lost", addresses=["10.244.3.77"]) == {"ok": True}
    assert gate(lab, do="status") == {"ok": True}
    lab.say("down")
    lab.until(lambda: not gate(lab, do="status")["ok"])
    lab.say("up")
    lab.until(lambda: gate(lab, do="status")["ok"])


def test_an_apply_keeps_the_pods_and_the_follower_takes_new_policies(lab: FollowingLab, tmp_path: Path) -> None:
    files = files_of(lab.bundle, "worker1")
    assert lab.node.apply(files, agent=True)["changed"] is False
    policies = tmp_path / "policies"
    policies.mkdir()
    for path in (EXAMPLE / "policies").iterdir():
        (policies / path.name).write_text(path.read_text().replace("app: web", "app: batch"))
    for path in policies.iterdir():
        path.write_text(path.read_text().replace("namespace: shop", "namespace: ops"))
    new = compiled(tmp_path / "bundle", policies=policies, settings=lab.bundle.parent / "settings.yaml")
    with Outside(lab.lab) as outside, outside.talking(API):
        done = lab.node.apply(files_of(new, "worker1"), agent=True)
        assert not done.get("failed"), done
        assert "10.244.3.40" in lab.elements()
        put(lab, BATCH, {"app": "none"})
        lab.until(lambda: "10.244.3.40" not in lab.elements())
        done = lab.node.apply(files, agent=True)
        assert not done.get("failed"), done
        seen = outside.seen()
    assert "10.6.1.21" not in seen
    assert "fd00:10:6:1::21" not in seen
    assert "10.244.3.10" in lab.elements()


def test_where_pods_are_compiled_nothing_follows(lab: FollowingLab, tmp_path: Path) -> None:
    files = node_files(compiled(tmp_path / "bundle"), "worker1")
    done = lab.node.apply(files, agent=True)
    assert not done.get("failed"), done
    lab.until_no_follower()
    assert "follow" not in lab.node.run("ls", "/run/egress-gateway", "/var/lib/egress-gateway")
    done = lab.node.apply(files_of(lab.bundle, "worker1"), agent=True)
    assert not done.get("failed"), done
    lab.until(lambda: len(lab.follower()) == 1 and "10.244.3.10" in lab.elements())


def test_absent_leaves_nothing(lab: FollowingLab) -> None:
    done = lab.node.absent()
    assert not done.get("failed"), done
    assert lab.follower() == []
    left = "for place in /run/egress-gateway /var/lib/egress-gateway /etc/egress-gateway; do ! ls -A $place; done"
    assert lab.node.shell(f"{left} 2>/dev/null") == ""
    assert "egress" not in lab.node.run("nft", "list", "tables")
    done = lab.node.apply(files_of(lab.bundle, "worker1"), agent=True)
    assert not done.get("failed"), done
    lab.until(lambda: "10.244.3.10" in lab.elements())
