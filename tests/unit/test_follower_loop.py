"""The follower as a whole over HTTP, with a bundle of the compiler; in place of ip, nft and conntrack are programs that
write down what they are told, and fail when a test says so."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.egress.gateway.plugins.module_utils.agent.loop import Loop
from ansible_collections.egress.gateway.plugins.module_utils.follower import main, status
from ansible_collections.egress.gateway.plugins.module_utils.follower.main import Follower
from ansible_collections.egress.gateway.plugins.module_utils.follower.pulse import Pulse
from ansible_collections.egress.gateway.plugins.module_utils.kernel import command
from ansible_collections.egress.gateway.plugins.module_utils.known import read_known
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.undo import lock

from egress_compiler.pipeline import Inputs, compile_bundle
from tests.follow_api.following import QUICK
from tests.follow_api.scripted_api import ScriptedApi

EXAMPLE = Path(__file__).parents[2] / "examples/dual-stack-ha"
WEB = ["10.244.3.10", "fd00:10:244:3::a"]
TOOL = """#!/bin/sh
{{ echo "$@"; cat; echo --; }} >>{log}/{name}
cd {log}
[ ! -e {name}.fails ] || {{ [ -s {name}.fails ] || rm {name}.fails; echo "no such file" >&2; exit 1; }}
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    directory = tmp_path_factory.mktemp("followed")
    settings = directory / "settings.yaml"
    text = (EXAMPLE / "settings.yaml").read_text() + "membership: followed\npodStart: gate\n"
    settings.write_text(text + f"follower: {{kubeconfig: {directory}/kubeconfig}}\n")
    inputs = Inputs((EXAMPLE / "policies",), (EXAMPLE / "cluster.json",), settings=settings)
    found = compile_bundle(inputs).files
    names = ("plan.json", "nftables.nft")
    return {**{name: found[f"nodes/worker1/{name}"] for name in names}, "members.json": found["members.json"]}


class Machine:
    """A node's directories, and the programs that stand for its kernel."""

    def __init__(self, directory: Path, files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths = replace(Paths(), config=directory / "config", runtime=directory / "run", state=directory / "state")
        self.log = directory / "log"
        tools = directory / "bin"
        for path in (self.paths.config, self.paths.state, self.log, tools):
            path.mkdir()
        for name in ("ip", "nft", "conntrack"):
            (tools / name).write_text(TOOL.format(log=self.log, name=name))
            (tools / name).chmod(0o755)
        monkeypatch.setattr(command, "SEARCH_PATH", f"{tools}:{command.SEARCH_PATH}")
        self.said: list[str] = []
        monkeypatch.setattr(
            status.Teller.__init__, "__defaults__", (time.time, lambda _level, text: self.said.append(text))
        )
        monkeypatch.setattr(main, "BEAT_SECONDS", 0.05)
        self.write(files)

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            self.paths.file(name).write_text(text)

    def told(self, tool: str) -> list[str]:
        """What each run of a program read."""
        path = self.log / tool
        return path.read_text().split("--\n")[:-1] if path.exists() else []

    def fail(self, tool: str, always: bool = False) -> None:
        """The next run of it, or all until ``heal``."""
        (self.log / f"{tool}.fails").write_text("always" if always else "")

    def heal(self, tool: str) -> None:
        (self.log / f"{tool}.fails").unlink()

    @property
    def status(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self.paths.follow_status.read_text())
        except OSError:
            return {"synced": False, "governed": 0, "reason": ""}
        return found

    @contextmanager
    def follower(self) -> Iterator[Follower]:
        loop = Loop()
        follower = Follower(self.paths, loop, Pulse(nobody()), QUICK)
        follower.start()
        thread = threading.Thread(target=loop.run, daemon=True)
        thread.start()
        try:
            yield follower
        finally:
            loop.later(0, loop.stop)
            thread.join(10)
            assert not thread.is_alive()
            follower.close()
            loop.close()

    def known(self) -> dict[str, list[str]]:
        return {pod.name: list(pod.addresses) for pod in read_known(self.paths).pods}

    def ask(self, **request: Any) -> Any:
        with socket.socket(socket.AF_UNIX) as gate:
            gate.settimeout(20)
            gate.connect(str(self.paths.follow_socket))
            gate.sendall(json.dumps(request).encode() + b"\n")
            return json.loads(gate.makefile().readline())


def nobody() -> int:
    """A descriptor that nobody reads."""
    return os.open("/dev/null", os.O_WRONLY)


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def api(files: dict[str, str]) -> Iterator[ScriptedApi]:
    with ScriptedApi(bookmark_seconds=0.2) as server:
        for namespace in ("shop", "ops", "payments"):
            server.add_namespace(namespace, {"pci": "true"} if namespace == "payments" else {})
        server.add_pod("shop", "web", node="worker1", ips=WEB, labels={"app": "web"})
        follow = json.loads(files["plan.json"])["follow"]
        Path(follow["kubeconfig"]).write_text(server.kubeconfig())
        yield server


@pytest.fixture
def machine(tmp_path: Path, files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, files, monkeypatch)


def test_a_pod_comes_into_the_kernel_and_out_of_it_in_the_right_order(machine: Machine, api: ScriptedApi) -> None:
    with machine.follower():
        until(lambda: machine.known() == {"web": WEB} and machine.status["governed"] == 1)
        ip, (nft,) = machine.told("ip"), machine.told("nft")
        assert len(ip) == 2
        assert ip[0].index("route replace default") < ip[0].index("rule add preference 99")
        assert "rule add preference 103 from 10.244.3.10 fwmark" in ip[0]
        assert "chain policy.egp.shop.web {" in nft
        assert "add element inet egress_gateway governed_pods4 { 10.244.3.10 : goto policy.egp.shop.web }" in nft
        assert machine.told("conntrack") == []
        api.delete_pod("shop", "web")
        until(lambda: machine.known() == {} and machine.status["governed"] == 0)
    assert "delete element inet egress_gateway governed_pods4 { 10.244.3.10 : " in machine.told("nft")[1]
    gone = machine.told("ip")[2:]
    assert "rule delete preference 103 from 10.244.3.10" in gone[0]
    assert not any("rule delete preference 99" in lines for lines in gone), "its answer stays for what it has open"
    assert [words.split() for words in machine.told("conntrack")] == [
        ["-D", "-f", "ipv4", "-s", WEB[0]],
        ["-D", "-f", "ipv6", "-s", WEB[1]],
    ]
    assert machine.said == ["follower: pods and namespaces are followed"]


def test_what_changes_nothing_writes_nothing(machine: Machine, api: ScriptedApi) -> None:
    with machine.follower() as follower:
        until(lambda: machine.status["synced"] and machine.status["governed"] == 1)
        written = [path.stat().st_mtime_ns for path in sorted(machine.paths.state.iterdir())]
        api.add_pod("shop", "web", node="worker1", ips=WEB, labels={"app": "web"}, padding=1000)
        api.add_pod("shop", "pending", node="worker1", labels={"app": "web"})
        until(lambda: follower._facts._pods.get(("shop", "pending")))
        assert [path.stat().st_mtime_ns for path in sorted(machine.paths.state.iterdir())] == written
    assert len(machine.told("nft")) == 1


def test_many_events_are_few_batches(machine: Machine, api: ScriptedApi) -> None:
    with machine.follower():
        until(lambda: machine.status["synced"])
        with lock.held(machine.paths):
            for number in range(50):
                api.add_pod(
                    "shop", f"w{number}", node="worker1", ips=[f"10.244.3.{100 + number}"], labels={"app": "web"}
                )
            time.sleep(0.3)
        until(lambda: len(machine.known()) == 51)
    assert len(machine.told("nft")) <= 3


def test_pods_wait_for_the_namespaces(machine: Machine, api: ScriptedApi) -> None:
    api.misbehave("forbidden", kind="Namespace", times=-1)
    with machine.follower() as follower:
        until(lambda: follower._held_back)
        until(lambda: "namespaces" in machine.status["reason"])
        assert machine.told("nft") == []
        api.heal()
        until(lambda: machine.known() == {"web": WEB})


def test_an_increment_that_the_kernel_refuses_is_followed_by_the_whole(machine: Machine, api: ScriptedApi) -> None:
    machine.fail("nft")
    with machine.follower():
        until(lambda: machine.known() == {"web": WEB})
    refused, whole = machine.told("nft")
    assert "delete table inet egress_gateway" not in refused
    assert "delete table inet egress_gateway" in whole
    assert whole.index("chain prerouting") < whole.index("10.244.3.10 : goto policy.egp.shop.web")


def test_what_cannot_be_loaded_at_all_is_told_and_tried_again(machine: Machine, api: ScriptedApi) -> None:
    machine.fail("nft", always=True)
    with machine.follower():
        until(lambda: "nft -f" in machine.status["reason"])
        assert machine.ask(do="status")["ok"] is False
        assert machine.known() == {}
        machine.heal("nft")
        until(lambda: machine.known() == {"web": WEB})
        until(lambda: machine.ask(do="status")["ok"])
    assert ["no such file" in text for text in machine.said][-2:] == [True, False]


def test_a_run_that_was_ended_half_way_is_followed_by_the_whole(machine: Machine, api: ScriptedApi) -> None:
    with machine.follower():
        until(lambda: machine.known() == {"web": WEB} and not machine.paths.follow_changing.exists())
    machine.paths.follow_changing.touch()
    with machine.follower():
        until(lambda: len(machine.told("nft")) == 2)
        until(lambda: not machine.paths.follow_changing.exists())
    assert "delete table inet egress_gateway" in machine.told("nft")[1]
    assert "10.244.3.10 : goto policy.egp.shop.web" in machine.told("nft")[1]


def test_without_an_api_what_is_known_stays(machine: Machine, api: ScriptedApi) -> None:
    with machine.follower():
        until(lambda: machine.known() == {"web": WEB})
    api.down()
    with machine.follower():
        until(lambda: "refused" in machine.status["reason"])
        assert machine.status["governed"] == 1
        assert machine.ask(do="check", container="c", addresses=WEB[:1])["ok"] is False
        api.up()
        until(lambda: machine.status["synced"])
        assert machine.ask(do="check", container="c", addresses=WEB[:1])["ok"] is True
    assert len(machine.told("nft")) == 1
    assert machine.said[-1] == "follower: pods and namespaces are followed"


def test_a_pod_starts_at_the_gate_and_ends(machine: Machine, api: ScriptedApi) -> None:
    with machine.follower():
        until(lambda: machine.status["synced"])
        api.add_pod("shop", "new", node="worker1", labels={"app": "web"}, phase="Pending")
        add = {
            "do": "add",
            "container": "c1",
            "addresses": ["10.244.3.50"],
            "namespace": "shop",
            "name": "new",
            "uid": "",
        }
        assert machine.ask(**add) == {"ok": True}
        assert "10.244.3.50 : goto policy.egp.shop.web" in machine.told("nft")[-1]
        assert machine.ask(do="check", container="c1", addresses=["10.244.3.50"]) == {"ok": True}
        api.add_pod("shop", "new", node="worker1", ips=["10.244.3.50"], labels={"app": "web"})
        assert machine.ask(do="delete", container="c1", addresses=["10.244.3.50"]) == {"ok": True}
        assert "delete element inet egress_gateway governed_pods4 { 10.244.3.50" in machine.told("nft")[-1]
        assert machine.ask(do="nonsense")["ok"] is False
    with machine.follower():
        until(lambda: machine.status["synced"])
        assert "new" not in machine.known(), "for good, although the API still has it"


def test_who_asks_badly_or_not_at_all_does_no_harm(machine: Machine, api: ScriptedApi) -> None:
    with machine.follower():
        until(lambda: machine.status["synced"])
        silent = [socket.socket(socket.AF_UNIX) for _ in range(20)]
        for one in silent:
            one.connect(str(machine.paths.follow_socket))
        silent[0].sendall(b"x" * 70_000)
        silent[1].sendall(b'{"do": "status"')
        silent[2].close()
        assert machine.ask(do="status") == {"ok": True}
        for one in silent:
            one.close()
        assert machine.ask(do="status") == {"ok": True}
    assert machine.paths.follow_socket.stat().st_mode & 0o777 == 0o600


def test_another_bundle_is_taken_as_it_comes(machine: Machine, api: ScriptedApi, files: dict[str, str]) -> None:
    with machine.follower() as follower:
        until(lambda: machine.known() == {"web": WEB})
        before = follower._enforcer.standing
        # As apply leaves it: the kernel has the pods by the new policies already.
        with lock.held(machine.paths):
            changed = files["members.json"].replace('"values":["web"]', '"values":["shop"]')
            machine.write({"members.json": changed})
        until(lambda: follower._enforcer.standing is not before)
        api.add_pod("shop", "two", node="worker1", ips=["10.244.3.51"], labels={"app": "shop"})
        until(lambda: "two" in machine.known())
    assert "10.244.3.51 : goto policy.egp.shop.web" in machine.told("nft")[-1]


def test_a_plan_that_compiles_pods_ends_it(machine: Machine, api: ScriptedApi) -> None:
    loop = Loop()
    follower = Follower(machine.paths, loop, Pulse(nobody()), QUICK)
    follower.start()
    thread = threading.Thread(target=loop.run, daemon=True)
    thread.start()
    until(lambda: machine.status["synced"])
    plan = json.loads(machine.paths.file("plan.json").read_text())
    machine.write({"plan.json": json.dumps({**plan, "follow": None})})
    thread.join(20)
    assert not thread.is_alive()
    follower.close()
    loop.close()
