# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Our keepalived on a gateway, and the addresses that it may leave behind when it is killed."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.egress.gateway.plugins.module_utils.contract.names import KEEPALIVED, TUNNEL_DEVICE
from ansible_collections.egress.gateway.plugins.module_utils.contract.plan import NodePlan
from ansible_collections.egress.gateway.plugins.module_utils.kernel import processes
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError, batch, daemon, run
from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import Kernel
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources.files import write
from ansible_collections.egress.gateway.plugins.module_utils.resources.key import Key
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import Change, Item, Items, Resource
from ansible_collections.egress.gateway.plugins.module_utils.resources.units import KEEPALIVED_UNIT

KEEPALIVED_KEY = Key.of("keepalived")
_START_SECONDS = 5
_STOP_SECONDS = 10
_OUTDATED = "running with another configuration"
_STRAY = "running beside its pid file"


class Keepalived(Resource):
    """One process with the configuration that is on the disk: started, reloaded only when that changed, stopped."""

    def __init__(
        self, paths: Paths, files: Mapping[str, str], service: bool, loses_device: Callable[[], bool] = lambda: False
    ) -> None:
        self._paths = paths
        self._loses_device = loses_device
        self._loaded = loaded_text(files)
        self._service = service
        self._marker = "--use-file=%s" % paths.file(KEEPALIVED)

    def desired(self) -> Items:
        if not self._loaded:
            return {}
        return {KEEPALIVED_KEY: Item(_running(self._loaded), "the gateway's slots")}

    def actual(self) -> Items:
        if self._is_running():
            return {KEEPALIVED_KEY: Item(_running(self._read_loaded()))}
        strays = processes.find(self._marker) or processes.find(str(self._paths.watch))
        return {KEEPALIVED_KEY: Item(_STRAY)} if strays else {}

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        try:
            action = changes[0].action
            running = self._is_running()
            if action == "remove":
                self._stop()
            elif running:
                self._reload()
            else:
                self._start()
        except NodeError as error:
            return error
        return None

    def _is_running(self) -> bool:
        if self._service:
            return run(["systemctl", "is-active", "--quiet", KEEPALIVED_UNIT], check=False).status == 0
        return processes.is_running(self._paths.keepalived_pid, self._marker)

    def _read_loaded(self) -> str:
        """Empty where it has to read again, or may have read a file that changed meanwhile and was put back."""
        loaded = self._paths.keepalived_loaded
        if self._loses_device():  # its addresses there go too, and come back when it reads again
            return ""
        try:
            since = loaded.stat().st_mtime_ns
            for path in (self._paths.file(KEEPALIVED), *self._paths.config.glob("*.sh")):
                if path.exists() and path.stat().st_ctime_ns > since:
                    return ""
            return loaded.read_text(encoding="utf-8")
        except OSError:
            return ""

    def _start(self) -> None:
        self._end_all()  # a child that outlived its parent would fight with the new one
        self._forget_states()
        if self._service:
            run(["systemctl", "start", KEEPALIVED_UNIT])
            return
        write(self._paths.keepalived_loaded, self._loaded, 0o644)
        pids = ["--pid=%s" % self._paths.keepalived_pid, "--vrrp_pid=%s" % self._paths.vrrp_pid]
        daemon(["keepalived", self._marker, *pids, "-P"])
        if not processes.until(lambda: self._is_running() and self._paths.vrrp_pid.exists(), _START_SECONDS):
            raise NodeError("keepalived does not start: its messages are in the system log")

    def _reload(self) -> None:
        if self._service:
            run(["systemctl", "reload", KEEPALIVED_UNIT])
            return
        write(self._paths.keepalived_loaded, self._loaded, 0o644)
        processes.send(int(self._paths.keepalived_pid.read_text(encoding="ascii")), signal.SIGHUP)

    def _stop(self) -> None:
        if self._service:
            run(["systemctl", "stop", KEEPALIVED_UNIT])
        self._end_all()
        for path in (self._paths.keepalived_loaded, self._paths.keepalived_pid, self._paths.vrrp_pid):
            if path.exists():
                path.unlink()
        self._forget_states()

    def _forget_states(self) -> None:
        """What keepalived said of its slots was said by one that is gone."""
        for path in self._paths.runtime.glob("vrid_*.state"):
            path.unlink()

    def _end_all(self) -> None:
        """SIGTERM lets the master hand over its addresses; what does not end by then is killed.

        What watches it goes first: to that one it would look as if it hung, and it would be started again.
        """
        for pid in processes.find(str(self._paths.watch)):
            processes.send(pid, signal.SIGTERM)
        for number in (signal.SIGTERM, signal.SIGKILL):
            pids = processes.find(self._marker)
            for pid in pids:
                processes.send(pid, number)
            if processes.until(lambda: not processes.find(self._marker), _STOP_SECONDS):
                self._await_scripts()
                return
        raise NodeError("keepalived does not end: processes %s" % processes.find(self._marker))

    def _await_scripts(self) -> None:
        """What keepalived told its scripts last is done by now: they must not bring back what is removed next."""
        locks = (path for pattern in ("watch.lock", "conntrackd.*") for path in self._paths.runtime.glob(pattern))
        for word in map(str, [*self._paths.config.glob("*.sh"), *locks]):
            if not processes.until(lambda word=word: not processes.find(word), _STOP_SECONDS):  # type: ignore[misc]  # mypy infers no default
                raise NodeError("what runs with %s does not end" % word)


class Leftovers(Resource):
    """EIPs that a killed keepalived left on the node and that no slot here may hold any more. Only removes.

    Which ones they can be, the plan before tells. What is left on the tunnel device belongs to ``link.Addresses``.
    """

    def __init__(self, kernel: Kernel, plan: NodePlan | None, before: NodePlan | None) -> None:
        self._kernel = kernel
        allowed = {(a.address, a.device) for a in plan.floating()} if plan else set()
        self._suspects = {
            (a.address, a.device): a.origin
            for a in (before.floating() if before else ())
            if (a.address, a.device) not in allowed and a.device != TUNNEL_DEVICE
        }

    def forget(self) -> None:
        self._kernel.forget()

    def desired(self) -> Items:
        return {}

    def actual(self) -> Items:
        found = {}
        for device, link in self._kernel.links().items():
            for address in link.get("addr_info", ()):
                origin = self._suspects.get((address.get("local", ""), device))
                if origin is not None:
                    text = "%s/%d" % (address["local"], address["prefixlen"])
                    found[Key.of("address", text, device)] = Item("present", origin)
        return found

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        return batch(["ip"], ["address delete %s dev %s" % change.key.parts for change in changes])


def loaded_text(files: Mapping[str, str]) -> str:
    """What keepalived has read, as ``sha256sum keepalived.conf *.sh`` prints it; empty where it is not wanted."""
    if KEEPALIVED not in files:
        return ""
    names = [KEEPALIVED, *sorted(name for name in files if name.endswith(".sh"))]
    return "".join("%s  %s\n" % (hashlib.sha256(files[name].encode()).hexdigest(), name) for name in names)


def _running(loaded: str) -> str:
    if not loaded:
        return _OUTDATED
    return "running, configuration " + hashlib.sha256(loaded.encode()).hexdigest()[:12]


def held(kernel: Kernel, plan: NodePlan) -> list[str]:
    """The floating addresses of the plan that this node holds now."""
    return sorted({a.address for a in plan.floating()} & kernel.addresses())
