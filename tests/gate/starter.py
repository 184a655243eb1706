"""Starts and stops pods on a node as a kubelet and its runtime do, with real CNI plugins; runs on the node itself.

    python -m tests.gate.starter start|stop|check '{"namespace": ..., "name": ..., ...}'
    python -m tests.gate.starter many '{"count": 1000, "rate": 20, ...}'

A pod's container is a network namespace.  Its client is ready before its network is, and begins to connect in the
moment in which the last plugin has answered.  Answers are lines of JSON.
"""

import contextlib
import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

CONF = Path("/etc/cni/net.d")
PLUGINS = "/opt/cni/bin:/usr/lib/cni"
RESULTS = Path("/run/cni-results")
"""Where a runtime keeps what ADD answered, for DEL and CHECK."""
ENDINGS = (".conflist", ".conf", ".json")
PAUSE = 0.01
"""Seconds between two attempts of a client."""

Json = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """``target`` is what its client asks for the source address, until it hears ``wanted``, for so many seconds."""

    namespace: str
    name: str
    uid: str
    target: str = ""
    wanted: str = ""
    seconds: float = 5.0

    @property
    def container(self) -> str:
        return f"{self.namespace}.{self.name}"

    @property
    def netns(self) -> str:
        return f"/run/netns/{self.container}"


@dataclass
class Attempts:
    """What a client heard, in order: addresses, and the names of errors.  ``delay`` seconds until the wanted one."""

    heard: list[str] = field(default_factory=list)
    delay: float | None = None


class PluginError(Exception):
    """What a plugin answered instead of a result."""


def active_list() -> Json:
    """The first in the order of names, as containerd and CRI-O take it."""
    path = min(path for path in CONF.iterdir() if path.suffix in ENDINGS)
    found: Json = json.loads(path.read_text(encoding="utf-8"))
    if path.suffix == ".conflist":
        return found
    return {"cniVersion": found["cniVersion"], "name": found["name"], "plugins": [found]}


def call(command: str, plugin: Json, conflist: Json, pod: Pod, before: Json | None) -> tuple[Json | None, float]:
    """One plugin's answer, and the seconds that it took.  Raises PluginError."""
    config = {**plugin, "name": conflist["name"], "cniVersion": conflist["cniVersion"]}
    if before is not None:
        config["prevResult"] = before
    environment = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": pod.container,
        "CNI_NETNS": pod.netns,
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE={pod.namespace};K8S_POD_NAME={pod.name};"
        f"K8S_POD_INFRA_CONTAINER_ID={pod.container};K8S_POD_UID={pod.uid}",
        "CNI_PATH": PLUGINS,
        "PATH": os.environ["PATH"],
    }
    program = shutil.which(plugin["type"], path=PLUGINS)
    if program is None:
        raise PluginError(f"failed to find plugin {plugin['type']}")
    start = time.perf_counter()
    done = subprocess.run(
        [program], input=json.dumps(config).encode(), capture_output=True, env=environment, check=False
    )
    took = time.perf_counter() - start
    if done.returncode:
        raise PluginError(f"{plugin['type']} {command}: {done.stdout.decode() or done.stderr.decode()}")
    return (json.loads(done.stdout) if done.stdout.strip() else None), took


def add(pod: Pod) -> tuple[Json, dict[str, float]]:
    """The result of the whole list, which is kept, and each plugin's time."""
    conflist, result, times = active_list(), None, {}
    for plugin in conflist["plugins"]:
        result, times[plugin["type"]] = call("ADD", plugin, conflist, pod, result)
    assert result is not None
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / pod.container).write_text(json.dumps(result))
    return result, times


def undo(pod: Pod) -> None:
    """DEL, in reverse, with what ADD answered where it is known."""
    conflist, kept = active_list(), RESULTS / pod.container
    before = json.loads(kept.read_text()) if kept.exists() and conflist["cniVersion"] >= "0.4.0" else None
    for plugin in reversed(conflist["plugins"]):
        call("DEL", plugin, conflist, pod, before)
    kept.unlink(missing_ok=True)


def check(pod: Pod) -> None:
    conflist = active_list()
    before = json.loads((RESULTS / pod.container).read_text())
    for plugin in conflist["plugins"]:
        call("CHECK", plugin, conflist, pod, before)


def start(pod: Pod) -> Json:
    """The pod's addresses, the plugins' times in seconds, and what its client heard; or why it did not start."""
    subprocess.run(["ip", "netns", "add", pod.container], check=True)
    _without_detection(pod)
    go, ready = os.pipe()
    answers, answer = os.pipe()
    child = os.fork() if pod.target else 0
    if pod.target and child == 0:
        os.close(ready)
        _client(pod, go, answer)
    os.close(go)
    os.close(answer)
    try:
        result, times = add(pod)
    except PluginError as error:
        os.close(ready)  # without a word: the client ends
        os.close(answers)
        with contextlib.suppress(PluginError):
            undo(pod)
        subprocess.run(["ip", "netns", "delete", pod.container], check=True)
        return {"pod": pod.name, "error": str(error)}
    if child:
        os.write(ready, b"x")
    os.close(ready)
    addresses = [ip["address"].partition("/")[0] for ip in result["ips"]]
    found = {"pod": pod.name, "addresses": addresses, "times": times}
    with os.fdopen(answers, "rb") as file:
        found.update(json.loads(file.read() or b"{}"))
    if child:
        os.waitpid(child, 0)
    return found


def stop(pod: Pod) -> Json:
    try:
        undo(pod)
    except PluginError as error:
        return {"pod": pod.name, "error": str(error)}
    subprocess.run(["ip", "netns", "delete", pod.container], check=False)
    return {"pod": pod.name}


def _client(pod: Pod, go: int, answer: int) -> None:
    """In the pod's network, ready before its first plugin runs; never returns."""
    try:
        with Path(pod.netns).open("rb") as netns:
            _setns(netns.fileno())
        if os.read(go, 1):
            os.write(answer, json.dumps(asdict(connect(pod))).encode())
    finally:
        os._exit(0)


def _without_detection(pod: Pod) -> None:
    """Of duplicate IPv6 addresses, for which plugins wait two seconds."""
    child = os.fork()
    if child == 0:
        try:
            with Path(pod.netns).open("rb") as netns:
                _setns(netns.fileno())
            Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0")
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def _setns(descriptor: int) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, 0x40000000) != 0:  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "setns")


def connect(pod: Pod) -> Attempts:
    """Connects at once, and every 10 ms again, until it is seen with the wanted address or the time is up."""
    address, _, port = pod.target.rpartition(":")
    found, begin = Attempts(), time.perf_counter()
    while time.perf_counter() - begin < pod.seconds:
        at = time.perf_counter()
        heard = _ask(address, int(port))
        found.heard.append(heard)
        if heard == pod.wanted:
            found.delay = time.perf_counter() - begin
            break
        time.sleep(max(0.0, PAUSE - (time.perf_counter() - at)))
    return found


def _ask(address: str, port: int) -> str:
    """The source address that the other side sees, or an error's name."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(0.5)
        try:
            connection.connect((address, port))
            return connection.recv(100).decode().split(" ")[0]
        except OSError as error:
            return type(error).__name__


def many(order: Json) -> Iterator[Json]:
    """``count`` pods, ``rate`` a second, each in a process of its own; each is stopped when its client is done.

    ``control`` is the API server's: each pod is there before its container, and has its addresses there after it.
    Without a ``gate`` its client begins in the moment in which they are there.
    """
    waiting = selectors.DefaultSelector()
    begin, open_ones = time.perf_counter(), 0
    for number in range(order["count"]):
        due = begin + number / order["rate"]
        while (left := due - time.perf_counter()) > 0:
            done = list(_finished(waiting, left))
            open_ones -= len(done)
            yield from done
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.close(reading)
            _life(Pod(**order["pod"], name=f"p{number}", uid=f"uid-p{number}"), order, writing)
        os.close(writing)
        waiting.register(reading, selectors.EVENT_READ)
        open_ones += 1
    while open_ones:
        done = list(_finished(waiting, 60))
        open_ones -= len(done)
        yield from done


def _finished(waiting: selectors.BaseSelector, seconds: float) -> Iterator[Json]:
    for key, _events in waiting.select(seconds):
        waiting.unregister(key.fileobj)
        with os.fdopen(int(key.fd), "rb") as file:
            text = file.read()
        os.wait()
        yield json.loads(text) if text else {"error": "the life of a pod ended early"}


def _life(pod: Pod, order: Json, answer: int) -> None:
    """Of one pod, from its object to its end; never returns."""
    try:
        with Api(order["control"]) as api:
            if order["gate"]:
                api.put(pod, order["node"], order["labels"])
                found = start(pod)
                api.put(pod, order["node"], order["labels"], found.get("addresses", ()))
            else:
                found = _ungated(pod, order, api)
            found |= stop(pod) if "error" not in found else {}
            api.delete(pod)
        os.write(answer, json.dumps(found).encode())
    except BaseException as error:
        os.write(answer, json.dumps({"pod": pod.name, "error": f"{type(error).__name__}: {error}"}).encode())
    finally:
        os._exit(0)


def _ungated(pod: Pod, order: Json, api: "Api") -> Json:
    """Its client begins in the moment in which its address is in the API: what comes before is refused."""
    silent = Pod(pod.namespace, pod.name, pod.uid)
    found = start(silent)
    if "error" in found:
        return found
    go, ready = os.pipe()
    answers, answer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ready)
        _client(pod, go, answer)
    os.close(go)
    os.close(answer)
    api.put(pod, order["node"], order["labels"], found["addresses"])
    os.write(ready, b"x")
    with os.fdopen(answers, "rb") as file:
        found.update(json.loads(file.read()))
    os.waitpid(child, 0)
    return found


class Api:
    """Orders for the scripted API server, on its control socket."""

    def __init__(self, path: str) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(path)
        self._lines = self._connection.makefile("rb")

    def __enter__(self) -> "Api":
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._connection.close()

    def do(self, command: str, /, **arguments: Any) -> Any:
        self._connection.sendall(json.dumps({"do": command, **arguments}).encode() + b"\n")
        answer = json.loads(self._lines.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["ok"]

    def put(self, pod: Pod, node: str, labels: Mapping[str, str], addresses: Sequence[str] = ()) -> None:
        """Pending until it has addresses."""
        listed = [{"ip": address} for address in addresses]
        status: Json = {"phase": "Running" if listed else "Pending"}
        status |= {"podIP": addresses[0], "podIPs": listed} if listed else {}
        metadata = {"namespace": pod.namespace, "name": pod.name, "uid": pod.uid, "labels": dict(labels)}
        self.do("put", kind="Pod", given={"metadata": metadata, "spec": {"nodeName": node}, "status": status})

    def delete(self, pod: Pod) -> None:
        self.do("delete_pod", namespace=pod.namespace, name=pod.name)


def main() -> None:
    command, given = sys.argv[1], json.loads(sys.argv[2])
    if command == "many":
        for line in many(given):
            print(json.dumps(line), flush=True)
        return
    pod = Pod(**given)
    if command == "check":
        try:
            check(pod)
            print(json.dumps({"pod": pod.name}))
        except PluginError as error:
            print(json.dumps({"pod": pod.name, "error": str(error)}))
        return
    print(json.dumps({"start": start, "stop": stop}[command](pod)))


if __name__ == "__main__":
    main()
