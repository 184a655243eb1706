"""egress-gate as a process, against a follower that answers what each test says; nft is a program of the test's."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from egress_compiler.contract.members import MemberPolicy
from egress_compiler.contract.plan import Both, PolicyChain
from egress_compiler.render.members_text import members_json
from tests.gate.follower import OK, FakeFollower, Request
from tests.gate.plugin import NAMES, VERSIONS, Answer, call, environment, result

ADDRESS = "10.1.0.5/24"


class Gate:
    """The plugin with its files in a directory of the test."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "follow.sock"
        self.spool = directory / "spool"
        self.members = directory / "members.json"
        self.told_nft = directory / "nft.log"
        self.nft_says = directory / "nft.says"
        self.config: dict[str, Any] = {
            "cniVersion": "1.0.0",
            "name": "k8s-pod-network",
            "type": "egress-gate",
            "socket": str(self.socket),
            "spool": str(self.spool),
            "members": str(self.members),
            "timeoutSeconds": 1,
        }
        nft = directory / "bin" / "nft"
        nft.parent.mkdir()
        nft.write_text(
            f"#!/bin/sh\ncat >>{self.told_nft}\necho -- >>{self.told_nft}\n"
            f"[ -e {self.nft_says} ] || exit 0\ncat {self.nft_says} >&2\nexit 1\n"
        )
        nft.chmod(0o755)
        self._path = f"{nft.parent}:{os.environ['PATH']}"

    def call(self, command: str, env: dict[str, str] | None = None, **config: Any) -> Answer:
        """None takes a key away."""
        given = {key: value for key, value in {**self.config, **config}.items() if value is not None}
        return call(json.dumps(given), environment(command, PATH=self._path, **(env or {})))

    def add(self, *addresses: str, env: dict[str, str] | None = None, **config: Any) -> Answer:
        return self.call("ADD", env, prevResult=result(*(addresses or (ADDRESS,))), **config)

    @property
    def nft(self) -> str:
        return self.told_nft.read_text() if self.told_nft.exists() else ""

    @property
    def spooled(self) -> list[Request]:
        return [json.loads(path.read_text()) for path in sorted(self.spool.glob("*"))]


def policy(namespace: str, **more: Any) -> MemberPolicy:
    chain = PolicyChain(f"of_{namespace}", f"EgressPolicy {namespace}/x", Both(None, None))
    return MemberPolicy(0, namespace, chain, None, {}, **more)


def members(*policies: MemberPolicy) -> str:
    """As the compiler writes them."""
    return members_json(policies, (), ())


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


@pytest.fixture
def follower(gate: Gate) -> Iterator[FakeFollower]:
    with FakeFollower(gate.socket) as follower:
        yield follower


# ------------------------------------------------------------------------------------------------------------------ ADD


@pytest.mark.parametrize("version", VERSIONS)
def test_add_tells_the_pod_and_passes_the_result_on(gate: Gate, follower: FakeFollower, version: str) -> None:
    before = result(ADDRESS, "fd00:0:0::5/64", version=version)

    answer = gate.call("ADD", cniVersion=version, prevResult=before)

    assert answer.status == 0, answer
    assert answer.json == before
    assert follower.requests == [
        {
            "do": "add",
            "container": "c1",
            "addresses": ["10.1.0.5", "fd00::5"],
            "namespace": "shop",
            "name": "cart-1",
            "uid": "u-1",
        }
    ]


@pytest.mark.parametrize("asked", VERSIONS)
@pytest.mark.parametrize("given", VERSIONS)
def test_the_result_has_the_form_that_is_asked_for(gate: Gate, follower: FakeFollower, asked: str, given: str) -> None:
    before = result(ADDRESS, "fd00::5/64", version=given)

    answer = gate.call("ADD", cniVersion=asked, prevResult=before)

    assert answer.json == result(ADDRESS, "fd00::5/64", version=asked)


def test_what_1_1_brought_is_left_out_of_an_older_result(gate: Gate, follower: FakeFollower) -> None:
    before = result(ADDRESS, version="1.1.0")
    before["interfaces"][1] |= {"mtu": 1450, "pciID": "0000:00:1"}
    before["routes"] = [{"dst": "0.0.0.0/0", "gw": "10.1.0.1", "mtu": 1400, "table": 5}]

    older = gate.call("ADD", cniVersion="1.0.0", prevResult=before).json
    same = gate.call("ADD", cniVersion="1.1.0", prevResult=before).json

    assert older["interfaces"] == result(ADDRESS)["interfaces"]
    assert older["routes"] == [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}]
    assert same == before


def test_what_the_result_has_besides_stays(gate: Gate, follower: FakeFollower) -> None:
    before = {**result(ADDRESS), "dns": {"nameservers": ["10.96.0.10"]}, "vendor": {"x": [1, None]}}

    assert gate.call("ADD", prevResult=before).json == before


@pytest.mark.parametrize(
    ("ips", "interfaces", "addresses"),
    [
        ([{"address": "10.1.0.5/32"}], [{"name": "cali1"}], ["10.1.0.5"]),
        ([{"address": "10.1.0.5/32", "interface": 0}], [{"name": "eth0", "sandbox": "/n"}], ["10.1.0.5"]),
        (
            [{"address": "10.1.0.1/32", "interface": 0}, {"address": "10.1.0.5/32", "interface": 1}],
            [{"name": "veth1"}, {"name": "eth0", "sandbox": "/n"}],
            ["10.1.0.5"],
        ),
        ([{"address": "10.1.0.5/32", "interface": 0}], [{"name": "veth1"}], ["10.1.0.5"]),
        ([{"address": "10.1.0.5/32", "interface": 7}], [], ["10.1.0.5"]),
        ([{"address": "10.1.0.5/32", "interface": "x"}], None, ["10.1.0.5"]),
        ([{"address": "FD00:0:0::0005/64"}, {"address": "fd00::5/64"}], [], ["fd00::5"]),
    ],
    ids=["calico", "cilium", "host-end", "host-end-alone", "no-such-interface", "odd-interface", "spelling"],
)
def test_which_addresses_are_the_pods(
    gate: Gate, follower: FakeFollower, ips: list[Any], interfaces: Any, addresses: list[str]
) -> None:
    before = {"cniVersion": "1.0.0", "ips": ips, "interfaces": interfaces}

    assert gate.call("ADD", prevResult=before).status == 0
    assert follower.requests[0]["addresses"] == addresses


def test_add_waits_until_the_follower_says_so(gate: Gate, follower: FakeFollower) -> None:
    said: list[float] = []

    def answer(_request: Request) -> bytes:
        time.sleep(1.3)  # longer than what a follower says at once
        said.append(time.monotonic())
        return OK

    follower.answer = answer
    answered = gate.add(timeoutSeconds=30)

    assert answered.status == 0
    assert said[0] < time.monotonic()
    assert len(follower.requests) == 1


def test_a_pod_that_is_not_known_in_time_is_tried_again(gate: Gate, follower: FakeFollower) -> None:
    follower.answer = lambda _request: b'{"ok":false,"reason":"shop/cart-1 is not in the API"}\n'

    answer = gate.add()

    assert answer.status == 1
    assert answer.json == {
        "cniVersion": "1.0.0",
        "code": 11,
        "msg": "egress-gate: the pod is not known yet",
        "details": "shop/cart-1 is not in the API",
    }


def test_a_pod_that_the_follower_blocks_starts(gate: Gate, follower: FakeFollower) -> None:
    follower.answer = lambda _request: b'{"ok":true,"blocked":true}\n'

    answer = gate.add(onTimeout="block")

    assert answer.status == 0
    assert answer.json == result(ADDRESS)
    assert "cart-1 starts blocked" in answer.stderr
    assert gate.nft == ""


@pytest.mark.parametrize("args", ["", "IgnoreUnknown=1", "K8S_POD_NAMESPACE="])
def test_what_is_no_pod_passes(gate: Gate, args: str) -> None:
    answer = gate.add(env={"CNI_ARGS": args})

    assert answer.status == 0
    assert answer.json == result(ADDRESS)
    assert gate.spooled == []


def test_a_pod_without_addresses_passes(gate: Gate) -> None:
    before = {"cniVersion": "1.0.0", "interfaces": [], "ips": []}

    assert gate.call("ADD", prevResult=before).json == before


def test_an_exempt_namespace_does_not_wait(gate: Gate, follower: FakeFollower) -> None:
    follower.answer = lambda _request: None

    answer = gate.add(exemptNamespaces=["shop"], timeoutSeconds=600)

    assert answer.status == 0
    for _ in range(200):
        if follower.requests:
            break
        time.sleep(0.02)
    assert [one["do"] for one in follower.requests] == ["add"]  # so that nothing is left of who had the address before


def test_an_exempt_namespace_needs_no_follower(gate: Gate) -> None:
    args = NAMES.replace("=shop", "=kube-system")

    answer = gate.add(env={"CNI_ARGS": args}, timeoutSeconds=600)

    assert answer.status == 0
    assert gate.nft == "delete element inet egress_gateway governed_pods4 { 10.1.0.5 }\n--\n"
    assert gate.spooled == [{"do": "delete", "container": "", "addresses": ["10.1.0.5"]}]


def test_without_a_follower_a_namespace_that_no_policy_selects_does_not_wait(gate: Gate) -> None:
    gate.members.write_text(members(policy("bank"), policy("shops"), policy("", whole=Both(("10.1.0.0/16",), ()))))

    answer = gate.add(timeoutSeconds=600)

    assert answer.status == 0
    assert gate.nft == "delete element inet egress_gateway governed_pods4 { 10.1.0.5 }\n--\n"


def test_beside_a_follower_that_hangs_it_does_not_wait_either(gate: Gate, follower: FakeFollower) -> None:
    follower.answer = lambda _request: None
    gate.members.write_text(members(policy("bank")))

    assert gate.add(timeoutSeconds=600).status == 0


@pytest.mark.parametrize("namespace", ["shop", ""])
def test_without_a_follower_a_selectable_pod_is_tried_again(gate: Gate, namespace: str) -> None:
    gate.members.write_text(members(policy("bank"), policy(namespace)))

    answer = gate.add()

    assert (answer.status, answer.code) == (1, 11)
    assert answer.json["msg"] == f"egress-gate: the follower does not answer on {gate.socket}"
    assert gate.nft == ""
    assert gate.spooled == []


def test_without_a_follower_a_pod_starts_blocked(gate: Gate) -> None:
    answer = gate.add(ADDRESS, "fd00::5/64", onTimeout="block")

    assert answer.status == 0
    assert answer.json == result(ADDRESS, "fd00::5/64")
    assert "starts blocked" in answer.stderr
    assert gate.nft.splitlines() == [
        "delete element inet egress_gateway governed_pods4 { 10.1.0.5 }",
        "add element inet egress_gateway governed_pods4 { 10.1.0.5 : goto blocked }",
        "--",
        "delete element inet egress_gateway governed_pods6 { fd00::5 }",
        "add element inet egress_gateway governed_pods6 { fd00::5 : goto blocked }",
        "--",
    ]
    assert gate.spooled == [
        {
            "do": "add",
            "container": "c1",
            "addresses": ["10.1.0.5", "fd00::5"],
            "namespace": "shop",
            "name": "cart-1",
            "uid": "u-1",
            "blocked": True,
        }
    ]


def test_a_pod_that_cannot_be_blocked_does_not_start(gate: Gate) -> None:
    gate.nft_says.write_text("Error: Operation not permitted\n")

    answer = gate.add(onTimeout="block")

    assert (answer.status, answer.code) == (1, 11)
    assert answer.json["details"] == "Error: Operation not permitted"
    assert gate.nft.count("--") == 2  # the address may not have been there


def test_a_follower_that_starts_meanwhile_answers(gate: Gate) -> None:
    """Ended in the middle of a request, and started again."""
    requests: list[Request] = []

    def end(request: Request) -> bytes:
        requests.append(request)
        return b"" if len(requests) == 1 else OK

    with FakeFollower(gate.socket, end):
        answer = gate.add(timeoutSeconds=30)

    assert answer.status == 0
    assert len(requests) == 2


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"\n",
        b"garbage\n",
        b"[]\n",
        b'{"ok":1}\n',
        b"{}\n",
        b'{"ok":true',
        b"\xff\n",
        b"[" * 70000,
        b"[" * 3000 + b"\n",
    ],
    ids=["closed", "empty", "garbage", "list", "number", "nothing", "cut", "bytes", "long", "deep"],
)
def test_a_garbage_reply_is_none(gate: Gate, follower: FakeFollower, reply: bytes) -> None:
    follower.answer = lambda _request: reply

    answer = gate.add()

    assert (answer.status, answer.code) == (1, 11)
    assert answer.stderr == ""


def test_a_follower_that_says_nothing_is_not_waited_for_for_ever(gate: Gate, follower: FakeFollower) -> None:
    follower.answer = lambda _request: None

    assert gate.add().code == 11
    assert gate.add(onTimeout="block").status == 0
    assert gate.spooled[0]["blocked"] is True


# ------------------------------------------------------------------------------------------------------------------ DEL


@pytest.mark.parametrize("version", VERSIONS)
def test_delete_tells_the_follower(gate: Gate, follower: FakeFollower, version: str) -> None:
    answer = gate.call("DEL", cniVersion=version, prevResult=result(ADDRESS, version=version))

    assert answer == Answer(0, "", "")
    assert follower.requests == [{"do": "delete", "container": "c1", "addresses": ["10.1.0.5"]}]
    assert gate.nft == ""


@pytest.mark.parametrize("before", [None, {}, [], "x", {"ips": None}, {"ips": [{}, 5, {"address": "x"}]}])
def test_delete_without_a_result(gate: Gate, follower: FakeFollower, before: Any) -> None:
    answer = gate.call("DEL", {"CNI_NETNS": "", "CNI_ARGS": ""}, prevResult=before)

    assert answer == Answer(0, "", "")
    assert follower.requests == [{"do": "delete", "container": "c1", "addresses": []}]


def test_delete_without_a_follower(gate: Gate) -> None:
    gate.nft_says.write_text("Error: Could not process rule: No such file or directory\n")

    for _ in range(2):
        assert gate.call("DEL", prevResult=result(ADDRESS)) == Answer(0, "", "")

    assert gate.nft == "delete element inet egress_gateway governed_pods4 { 10.1.0.5 }\n--\n" * 2
    assert gate.spooled == [{"do": "delete", "container": "c1", "addresses": ["10.1.0.5"]}] * 2
    assert gate.spool.stat().st_mode & 0o777 == 0o700


def test_delete_without_follower_and_result_is_left_to_the_follower(gate: Gate) -> None:
    assert gate.call("DEL").status == 0
    assert gate.nft == ""
    assert gate.spooled == [{"do": "delete", "container": "c1", "addresses": []}]


def test_delete_where_the_follower_fails(gate: Gate, follower: FakeFollower) -> None:
    follower.answer = lambda _request: b'{"ok":false,"reason":"nft failed"}\n'

    assert gate.call("DEL", prevResult=result(ADDRESS)).status == 0
    assert "delete element" in gate.nft
    assert [one["do"] for one in follower.requests] == ["delete", "spool"]


def test_delete_that_leaves_the_address_in_the_kernel_fails(gate: Gate) -> None:
    gate.nft_says.write_text("Error: Operation not permitted\n")

    answer = gate.call("DEL", prevResult=result(ADDRESS))

    assert (answer.status, answer.code) == (1, 11)
    assert len(gate.spooled) == 1


# ------------------------------------------------------------------------------------------- CHECK, STATUS, GC, VERSION


def test_check(gate: Gate, follower: FakeFollower) -> None:
    assert gate.call("CHECK", prevResult=result(ADDRESS)) == Answer(0, "", "")
    assert follower.requests == [{"do": "check", "container": "c1", "addresses": ["10.1.0.5"]}]

    follower.answer = lambda _request: b'{"ok":false,"reason":"10.1.0.5 is not in the table"}\n'
    answer = gate.call("CHECK", prevResult=result(ADDRESS))

    assert (answer.status, answer.code) == (1, 100)
    assert answer.json["details"] == "10.1.0.5 is not in the table"
    assert gate.call("CHECK", prevResult=result(ADDRESS), exemptNamespaces=["shop"]).status == 0
    assert gate.call("CHECK").code == 7


def test_check_without_a_follower(gate: Gate) -> None:
    assert gate.call("CHECK", prevResult=result(ADDRESS)).code == 11


@pytest.mark.parametrize(("on_timeout", "code"), [("fail", 50), ("block", 51)])
def test_status(gate: Gate, on_timeout: str, code: int) -> None:
    bare = {"CNI_CONTAINERID": "", "CNI_NETNS": "", "CNI_IFNAME": "", "CNI_ARGS": ""}
    config = {"cniVersion": "1.1.0", "onTimeout": on_timeout}

    assert gate.call("STATUS", bare, **config).code == code
    with FakeFollower(gate.socket) as follower:
        assert gate.call("STATUS", bare, **config) == Answer(0, "", "")
        assert follower.requests == [{"do": "status"}]
        follower.answer = lambda _request: b'{"ok":false,"reason":"403"}\n'
        answer = gate.call("STATUS", bare, **config)
    assert (answer.code, answer.json["details"]) == (code, "403")


def test_gc(gate: Gate, follower: FakeFollower) -> None:
    bare = {"CNI_CONTAINERID": "", "CNI_NETNS": "", "CNI_IFNAME": "", "CNI_ARGS": ""}
    valid = [{"containerID": "c2", "ifname": "eth0"}, {"containerID": "c1", "ifname": "eth0"}] * 2

    answer = gate.call("GC", bare, cniVersion="1.1.0", **{"cni.dev/valid-attachments": valid})

    assert answer == Answer(0, "", "")
    assert follower.requests == [{"do": "gc", "containers": ["c1", "c2"]}]


@pytest.mark.parametrize("valid", [None, {}, "x", [5], [{}], [{"containerID": ["c1"]}]])
def test_gc_that_does_not_say_who_stays_removes_nobody(gate: Gate, follower: FakeFollower, valid: Any) -> None:
    answer = gate.call("GC", None, cniVersion="1.1.0", **{"cni.dev/valid-attachments": valid})

    assert (answer.status, answer.code) == (1, 7)
    assert follower.requests == []


def test_gc_without_a_follower(gate: Gate) -> None:
    assert gate.call("GC", None, cniVersion="1.1.0", **{"cni.dev/valid-attachments": []}).code == 11


def test_version(gate: Gate) -> None:
    answer = call('{"cniVersion": "0.4.0"}', {"CNI_COMMAND": "VERSION"})

    assert answer.status == 0
    assert answer.json == {"cniVersion": "0.4.0", "supportedVersions": list(VERSIONS)}


@pytest.mark.parametrize(("command", "version"), [("CHECK", "0.3.1"), ("STATUS", "1.0.0"), ("GC", "1.0.0")])
def test_a_command_that_the_version_does_not_have(gate: Gate, command: str, version: str) -> None:
    answer = gate.call(command, cniVersion=version, prevResult=result(ADDRESS))

    assert (answer.status, answer.code) == (1, 1)
    assert answer.json["cniVersion"] == version


# -------------------------------------------------------------------------------------------------------- hostile input


@pytest.mark.parametrize(
    ("stdin", "code"),
    [
        (b"", 6),
        (b"\xff\xfe", 6),
        (b"nonsense", 6),
        (b"[]", 6),
        (b"null", 6),
        (b"[" * 100_000, 6),
        (b'{"a":' * 50_000, 6),
        (b'{"cniVersion":"1.0.0","x":NaN}', 6),
        (b'{"x":"' + b"y" * (4 << 20) + b'"}', 6),
        (b"{}", 1),
        (b'{"cniVersion":null}', 1),
        (b'{"cniVersion":["1.0.0"]}', 1),
        (b'{"cniVersion":"0.2.0"}', 1),
        (b'{"cniVersion":"9.9.9"}', 1),
        (b'{"cniVersion":"\\ud800"}', 1),
        (b'{"cniVersion":"1.0.0"}', 7),
    ],
    ids=lambda value: repr(value[:30]) if isinstance(value, bytes) else str(value),
)
def test_input_that_is_no_configuration(gate: Gate, stdin: bytes, code: int) -> None:
    answer = call(stdin, environment("ADD"))

    assert (answer.status, answer.code, answer.stderr) == (1, code, "")
    assert isinstance(answer.json["msg"], str)
    assert isinstance(answer.json["cniVersion"], str)


@pytest.mark.parametrize(
    "config",
    [
        {"prevResult": 5},
        {"prevResult": []},
        {"prevResult": {"ips": {}}},
        {"prevResult": {"ips": [5]}},
        {"prevResult": {"ips": [{"address": 5}]}},
        {"prevResult": {"ips": [{"address": "10.1.0.5; flush ruleset"}]}},
        {"prevResult": {"ips": [{"address": "10.1.0.999/24"}]}},
        {"prevResult": {"ip4": {"ip": "10.1.0.5/24"}}},
        {"socket": 5},
        {"socket": ""},
        {"timeoutSeconds": 0},
        {"timeoutSeconds": 601},
        {"timeoutSeconds": True},
        {"timeoutSeconds": "10"},
        {"timeoutSeconds": 1e99},
        {"onTimeout": "shrug"},
        {"onTimeout": ["fail"]},
        {"exemptNamespaces": "kube-system"},
        {"exemptNamespaces": [["kube-system"]]},
    ],
    ids=str,
)
def test_a_configuration_that_is_wrong(gate: Gate, follower: FakeFollower, config: dict[str, Any]) -> None:
    answer = gate.call("ADD", **{"prevResult": result(ADDRESS), **config})

    assert (answer.status, answer.code, answer.stderr) == (1, 7, "")
    assert follower.requests == []


@pytest.mark.parametrize(
    "env",
    [
        {"CNI_COMMAND": ""},
        {"CNI_COMMAND": "add"},
        {"CNI_COMMAND": "EXPLODE"},
        {"CNI_CONTAINERID": ""},
        {"CNI_CONTAINERID": "../../etc"},
        {"CNI_CONTAINERID": "-c1"},
        {"CNI_CONTAINERID": "ü"},
        {"CNI_NETNS": ""},
        {"CNI_IFNAME": ""},
        {"CNI_ARGS": "K8S_POD_NAMESPACE"},
    ],
    ids=str,
)
def test_an_environment_that_is_wrong(gate: Gate, follower: FakeFollower, env: dict[str, str]) -> None:
    answer = gate.add(env=env)

    assert (answer.status, answer.code, answer.stderr) == (1, 4, "")
    assert follower.requests == []


def test_a_socket_path_that_is_too_long(gate: Gate) -> None:
    answer = gate.add(socket="/run/" + "x" * 200)

    assert (answer.status, answer.code, answer.stderr) == (1, 11, "")


def test_a_spool_that_cannot_be_written(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    answer = gate.call("DEL", prevResult=result(ADDRESS), spool=str(tmp_path / "file" / "spool"))

    assert (answer.status, answer.code, answer.stderr) == (1, 999, "")


def test_names_with_odd_characters_stay_one_line(gate: Gate, follower: FakeFollower) -> None:
    args = "K8S_POD_NAMESPACE=a\nb;K8S_POD_NAME=ü\u2028"

    assert gate.add(env={"CNI_ARGS": args}).status == 0
    assert follower.requests[0]["namespace"] == "a\nb"
    assert follower.requests[0]["name"] == "ü\u2028"
