# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""egress-gate: a chained CNI plugin that lets a pod start when the node knows which egress IP it leaves with.

One file, started once for each pod: it imports nothing but what it needs, for Python's own start is most of its cost.
It asks the node's follower over a socket, one line of JSON each way.  CNI spec 0.3.0 to 1.1.0.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself takes longer to import than all the rest
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

NAME = "egress-gate"
VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
SINCE = {"CHECK": "0.4.0", "STATUS": "1.1.0", "GC": "1.1.0"}
"""The version of the spec that brought a command, where not all have it."""
SINCE_1_1 = {"interfaces": ("mtu", "socketPath", "pciID"), "routes": ("mtu", "advmss", "priority", "table", "scope")}
"""What 1.1.0 brought to results."""
SOCKET = "/run/egress-gateway/follow.sock"
SPOOL = "/run/egress-gateway/spool"
MEMBERS = "/etc/egress-gateway/members.json"
TABLE = "inet egress_gateway"
TOOLS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MOST_INPUT = 4 << 20
MOST_REPLY = 1 << 16
PAUSE = 0.1
"""Seconds between two attempts to reach the follower."""
AT_ONCE = 1.0
"""Seconds in which a follower that runs has answered what needs no waiting."""
PATIENCE = 3.0
"""Seconds for whatever is no ADD: a follower that was ended is back by then."""

WRONG_VERSION, WRONG_ENVIRONMENT, WRONG_JSON, WRONG_CONFIG, TRY_LATER = 1, 4, 6, 7, 11
NOT_AVAILABLE, LIMITED = 50, 51
NOT_IN_FORCE, BROKEN = 100, 999
"""Error codes: those of the spec, and from 100 on our own."""


class Failure(Exception):
    """Told to the runtime as an error object."""

    def __init__(self, code: int, text: str, details: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.details = details


class Call:
    """One command, with its environment and its configuration checked."""

    def __init__(self, command: str, environment: Mapping[str, str], config: dict[str, Any]) -> None:
        self.config = config
        self.version = _version(config, command)
        self.container = environment.get("CNI_CONTAINERID", "")
        self.pod: dict[str, str] = {}
        if command not in ("STATUS", "GC"):
            _check_environment(environment, command)
            self.pod = _pod(environment.get("CNI_ARGS", ""))
        self.socket = _text(config, "socket", SOCKET)
        self.spool = _text(config, "spool", SPOOL)
        self.members = _text(config, "members", MEMBERS)
        self.timeout = _seconds(config)
        self.blocks = _text(config, "onTimeout", "fail", ("fail", "block")) == "block"
        self.exempt = _texts(config, "exemptNamespaces", ["kube-system"])
        self.namespace = self.pod.get("K8S_POD_NAMESPACE", "")

    def unselectable(self) -> bool:
        """Whether no policy can select the pod, as far as one can say without labels."""
        try:
            with open(self.members, encoding="utf-8") as file:
                lines = [line for line in file if line.startswith('  {"namespace":')]
        except (OSError, ValueError):
            return False
        selecting = tuple('  {"namespace":%s,' % json.dumps(one) for one in (self.namespace, ""))
        return not any(line.startswith(selecting) and '"whole":' not in line for line in lines)


def main() -> int:
    """The exit status; the answer, or what went wrong, is on standard output."""
    version, answer = VERSIONS[-1], None
    try:
        command = os.environ.get("CNI_COMMAND", "")
        if command not in COMMANDS and command != "VERSION":
            raise Failure(WRONG_ENVIRONMENT, "CNI_COMMAND is %r" % command)
        config = _read()
        if isinstance(config.get("cniVersion"), str):
            version = config["cniVersion"]
        if command == "VERSION":
            answer = {"cniVersion": version, "supportedVersions": list(VERSIONS)}
        else:
            answer = COMMANDS[command](Call(command, os.environ, config))
        status = 0
    except Failure as failure:
        status, answer = 1, _error(version, failure.code, str(failure), failure.details)
    except Exception as error:  # whatever it is, the runtime gets its answer
        status, answer = 1, _error(version, BROKEN, "%s: %s" % (type(error).__name__, error))
    if answer is not None:
        sys.stdout.write(json.dumps(answer) + "\n")
    return status


def _error(version: str, code: int, text: str, details: str = "") -> dict[str, Any]:
    more = {"details": details} if details else {}
    return {"cniVersion": version, "code": code, "msg": "%s: %s" % (NAME, text), **more}


def add(call: Call) -> dict[str, Any]:
    """The result of the plugins before, once the pod's addresses are in force."""
    result = _previous(call)
    addresses = _addresses(result)
    if not call.namespace or not addresses:
        return result  # no pod of Kubernetes
    name, uid = (call.pod.get(key, "") for key in ("K8S_POD_NAME", "K8S_POD_UID"))
    request = _request(call, "add", addresses, namespace=call.namespace, name=name, uid=uid)
    if call.namespace in call.exempt:
        if not _tell(call.socket, request):
            _take_out(call, addresses)
        return result
    reply = _ask(call.socket, request, call.timeout + 1, call.unselectable)
    if reply is None and call.unselectable():
        _take_out(call, addresses)
    elif reply is None and call.blocks:
        _without_follower(call, {**request, "blocked": True}, _refuse_address)
        _note("%s starts blocked: %s" % (name, _silence(call)))
    elif reply is None:
        raise Failure(TRY_LATER, _silence(call))
    elif not reply["ok"]:
        raise Failure(TRY_LATER, "the pod is not known yet", _reason(reply))
    elif reply.get("blocked"):
        _note("%s starts blocked: it is not known after %d s" % (name, call.timeout))
    return result


def delete(call: Call) -> None:
    """The addresses are out of the kernel, whoever takes them out."""
    request = _request(call, "delete", _addresses(call.config.get("prevResult")))
    reply = _ask(call.socket, request, min(PATIENCE, call.timeout))
    if reply is None or not reply["ok"]:
        _without_follower(call, request, _forget_address)


def check(call: Call) -> None:
    addresses = _addresses(_previous(call))
    if call.namespace and call.namespace not in call.exempt:
        reply = _ask(call.socket, _request(call, "check", addresses), PATIENCE)
        if reply is None:
            raise Failure(TRY_LATER, _silence(call))
        if not reply["ok"]:
            raise Failure(NOT_IN_FORCE, "what the pod leaves with is not in force", _reason(reply))


def status(call: Call) -> None:
    """Without a follower pods do not start, or start without what is outside of the cluster."""
    reply = _ask(call.socket, {"do": "status"}, PATIENCE)
    if reply is None or not reply["ok"]:
        reason = _silence(call) if reply is None else _reason(reply)
        raise Failure(LIMITED if call.blocks else NOT_AVAILABLE, "the follower is not ready", reason)


def collect(call: Call) -> None:
    """GC: whatever container is not among these is gone."""
    given = call.config.get("cni.dev/valid-attachments", call.config.get("cni.dev/attachments"))
    if not isinstance(given, list):
        raise Failure(WRONG_CONFIG, "cni.dev/valid-attachments is no list")
    found = [one.get("containerID") if isinstance(one, dict) else None for one in given]
    if not all(isinstance(one, str) for one in found):
        raise Failure(WRONG_CONFIG, "an entry of cni.dev/valid-attachments has no containerID")
    reply = _ask(call.socket, {"do": "gc", "containers": sorted(set(found))}, PATIENCE)
    if reply is None or not reply["ok"]:
        raise Failure(TRY_LATER, "nothing is cleaned up", _silence(call) if reply is None else _reason(reply))


COMMANDS: dict[str, Callable[[Call], dict[str, Any] | None]] = {
    "ADD": add,
    "DEL": delete,
    "CHECK": check,
    "STATUS": status,
    "GC": collect,
}


# What comes in


def _read() -> dict[str, Any]:
    data = sys.stdin.buffer.read(MOST_INPUT + 1)
    if len(data) > MOST_INPUT:
        raise Failure(WRONG_JSON, "the configuration is longer than %d bytes" % MOST_INPUT)
    try:
        config = json.loads(data.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Failure(WRONG_JSON, "the configuration is no JSON", str(error)) from None
    if not isinstance(config, dict):
        raise Failure(WRONG_JSON, "the configuration is no JSON object")
    return config


def _no_number(name: str) -> None:
    raise ValueError("%s is no number" % name)


def _version(config: dict[str, Any], command: str) -> str:
    version = config.get("cniVersion")
    if not isinstance(version, str) or version not in VERSIONS:
        raise Failure(WRONG_VERSION, "cniVersion %s is none of %s" % (json.dumps(version), ", ".join(VERSIONS)))
    if VERSIONS.index(version) < VERSIONS.index(SINCE.get(command, VERSIONS[0])):
        raise Failure(WRONG_VERSION, "cniVersion %s has no %s" % (version, command))
    return version


def _check_environment(environment: Mapping[str, str], command: str) -> None:
    for name in ("CNI_CONTAINERID", "CNI_IFNAME", *(() if command == "DEL" else ("CNI_NETNS",))):
        if not environment.get(name):
            raise Failure(WRONG_ENVIRONMENT, "%s is not set" % name)
    container = environment["CNI_CONTAINERID"]
    letters = container.replace("_", "").replace("-", "").replace(".", "")
    if not (letters.isascii() and letters.isalnum() and container[0].isalnum()):
        raise Failure(WRONG_ENVIRONMENT, "CNI_CONTAINERID is no identifier: %r" % container)


def _pod(arguments: str) -> dict[str, str]:
    """Of CNI_ARGS, where the kubelet's runtimes name the pod."""
    pairs = [pair.partition("=") for pair in arguments.split(";") if pair]
    if not all(equals for _name, equals, _value in pairs):
        raise Failure(WRONG_ENVIRONMENT, "CNI_ARGS are no pairs with = between: %r" % arguments)
    return {name: value for name, _equals, value in pairs}


def _text(config: dict[str, Any], key: str, default: str, allowed: Sequence[str] = ()) -> str:
    value = config.get(key, default)
    if not isinstance(value, str) or not value or (allowed and value not in allowed):
        raise Failure(WRONG_CONFIG, "%s is not %s" % (key, " or ".join(allowed) or "a text"))
    return value


def _texts(config: dict[str, Any], key: str, default: list[str]) -> list[str]:
    value = config.get(key, default)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise Failure(WRONG_CONFIG, "%s is no list of texts" % key)
    return value


def _seconds(config: dict[str, Any]) -> int:
    value = config.get("timeoutSeconds", 10)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 600:
        raise Failure(WRONG_CONFIG, "timeoutSeconds is no number from 1 to 600")
    return value


# The result of the plugins before


def _previous(call: Call) -> dict[str, Any]:
    """In the form of the version that is asked for."""
    result = call.config.get("prevResult")
    if not isinstance(result, dict):
        raise Failure(WRONG_CONFIG, "there is no prevResult: %s stands behind another plugin in the list" % NAME)
    ips, older = result.get("ips", []), VERSIONS.index(call.version)
    if not isinstance(ips, list) or not all(isinstance(ip, dict) and _family(ip) for ip in ips) or "ip4" in result:
        raise Failure(WRONG_CONFIG, "the prevResult's ips are no list of addresses")
    result = {**result, "cniVersion": call.version}
    if "ips" in result and older < VERSIONS.index("1.0.0"):  # where an address says its family
        result["ips"] = [{"version": _family(ip), **ip} for ip in ips]
    elif "ips" in result:
        result["ips"] = _without(ips, ("version",))
    if older < VERSIONS.index("1.1.0"):
        found = {key: result[key] for key in SINCE_1_1 if isinstance(result.get(key), list)}
        result.update((key, _without(items, SINCE_1_1[key])) for key, items in found.items())
    return result


def _family(ip: dict[str, Any]) -> str:
    """As the spec spells it; empty for what is no address."""
    address = _address(ip.get("address"))
    return "" if address is None else "6" if ":" in address else "4"


def _without(items: Sequence[Any], names: Sequence[str]) -> list[Any]:
    return [{k: v for k, v in one.items() if k not in names} if isinstance(one, dict) else one for one in items]


def _addresses(result: object) -> list[str]:
    """The pod's, in the kernel's spelling: those on interfaces within it, or of which nobody says where they are."""
    if not isinstance(result, dict) or not isinstance(result.get("ips"), list):
        return []
    within: set[str] = set()
    elsewhere: set[str] = set()
    for ip in result["ips"]:
        address = _address(ip.get("address")) if isinstance(ip, dict) else None
        if address is not None:
            (elsewhere if _is_on_host(ip.get("interface"), result.get("interfaces")) else within).add(address)
    return sorted(within or elsewhere)


def _is_on_host(number: object, interfaces: object) -> bool:
    if not isinstance(number, int) or not isinstance(interfaces, list) or not 0 <= number < len(interfaces):
        return False
    return isinstance(interfaces[number], dict) and not interfaces[number].get("sandbox")


def _address(text: object) -> str | None:
    if not isinstance(text, str):
        return None
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    try:
        return socket.inet_ntop(family, socket.inet_pton(family, text.partition("/")[0]))
    except (OSError, ValueError):
        return None


# The follower


def _request(call: Call, do: str, addresses: Sequence[str], **more: str) -> dict[str, Any]:
    return {"do": do, "container": call.container, "addresses": addresses, **more}


def _ask(path: str, request: dict[str, Any], seconds: float, leave: Callable[[], bool] = bool) -> Any:
    """Its reply, with ``ok``; None where there is none in time, or none at once and ``leave`` says so."""
    end = time.monotonic() + seconds
    while True:
        try:
            reply = _talk(path, request, end, leave)
        except (OSError, ValueError, RecursionError):  # it is not there, was ended meanwhile, or says what is no JSON
            reply = None
        if isinstance(reply, dict) and isinstance(reply.get("ok"), bool):
            return reply
        if time.monotonic() + PAUSE > end or leave():
            return None
        time.sleep(PAUSE)


def _talk(path: str, request: dict[str, Any], end: float, leave: Callable[[], bool]) -> Any:
    with _sent(path, request) as connection:
        data = b""
        while not data.endswith(b"\n") and len(data) <= MOST_REPLY:
            try:
                more = connection.recv(4096)
            except socket.timeout:
                left = end - time.monotonic()
                if left <= 0 or leave():
                    return None
                connection.settimeout(left)
                continue
            if not more:
                break
            data += more
    return json.loads(data.decode("utf-8"))


def _sent(path: str, request: dict[str, Any]) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(AT_ONCE)
        connection.connect(path)
        connection.sendall(json.dumps(request).encode() + b"\n")
    except BaseException:
        connection.close()
        raise
    return connection


def _tell(path: str, request: dict[str, Any]) -> bool:
    """Whether the follower has it; for what it answers nobody waits."""
    try:
        _sent(path, request).close()
    except OSError:
        return False
    return True


def _reason(reply: dict[str, Any]) -> str:
    return str(reply.get("reason", ""))


def _silence(call: Call) -> str:
    return "the follower does not answer on %s" % call.socket


# Without the follower


def _take_out(call: Call, addresses: Sequence[str]) -> None:
    """What the kernel has for those that had the addresses before."""
    _without_follower(call, {"do": "delete", "container": "", "addresses": addresses}, _forget_address)


def _without_follower(call: Call, request: dict[str, Any], on_address: Callable[[str], str]) -> None:
    """Written down first, so that a follower that starts finds it, and told to one that has started meanwhile."""
    os.makedirs(call.spool, mode=0o700, exist_ok=True)
    name = "%020d-%d.json" % (time.time_ns(), os.getpid())
    path, unfinished = os.path.join(call.spool, name), os.path.join(call.spool, "." + name)
    with open(unfinished, "w", encoding="ascii") as file:
        file.write(json.dumps(request) + "\n")
    os.rename(unfinished, path)
    problems = [problem for address in request["addresses"] for problem in [on_address(address)] if problem]
    _tell(call.socket, {"do": "spool"})
    if problems:
        raise Failure(TRY_LATER, _silence(call), "; ".join(problems))


def _refuse_address(address: str) -> str:
    element = "element %s governed_pods%d { %s" % (TABLE, 6 if ":" in address else 4, address)
    add_it = "add %s : goto blocked }\n" % element
    return _nft("delete %s }\n%s" % (element, add_it)) and _nft(add_it)


def _forget_address(address: str) -> str:
    problem = _nft("delete element %s governed_pods%d { %s }\n" % (TABLE, 6 if ":" in address else 4, address))
    return "" if "No such file or directory" in problem else problem


def _nft(script: str) -> str:
    """Why it was not done; empty where it was."""
    import subprocess

    environment = {"PATH": ":".join([*filter(None, [os.environ.get("PATH")]), TOOLS]), "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["nft", "-f", "-"], input=script.encode(), capture_output=True, env=environment, timeout=30, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return (done.stderr.decode(errors="replace").strip() or "nft failed") if done.returncode else ""


def _note(text: str) -> None:
    """For the runtime's log."""
    sys.stderr.write("%s: %s\n" % (NAME, text))


if __name__ == "__main__":
    raise SystemExit(main())
