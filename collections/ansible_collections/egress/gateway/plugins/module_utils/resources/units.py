# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""systemd units: what restores the node at boot without controller or network, and what runs the daemons.

The table comes before any interface is configured: whatever starts pods, and however early, what is governed is stopped
until the tunnel is there. Tunnel, rules and routes come when the network is up, as systemd-networkd removes rules and
routes of others when it starts, and still before the usual runtimes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible_collections.egress.gateway.plugins.module_utils.contract.names import (
    CONNTRACKD,
    KEEPALIVED,
    RULESET,
    TUNNEL_DEVICE,
    WORKER_DEVICE,
)
from ansible_collections.egress.gateway.plugins.module_utils.contract.numbers import ROUTE_PROTOCOL
from ansible_collections.egress.gateway.plugins.module_utils.contract.order import LOADERS
from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError, run
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources.files import irregular, write
from ansible_collections.egress.gateway.plugins.module_utils.resources.key import Key, Part
from ansible_collections.egress.gateway.plugins.module_utils.resources.load_ruleset import load_ruleset
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import Change, Item, Items, Resource

GUARD_UNIT = "egress-gateway-guard.service"
RESTORE_UNIT = "egress-gateway.service"
KEEPALIVED_UNIT = "egress-gateway-keepalived.service"
CONNTRACKD_UNIT = "egress-gateway-conntrackd.service"
AGENT_UNIT = "egress-gateway-agent.service"
_NAMES = (GUARD_UNIT, RESTORE_UNIT, AGENT_UNIT, CONNTRACKD_UNIT, KEEPALIVED_UNIT)
_DAEMONS = (AGENT_UNIT, CONNTRACKD_UNIT, KEEPALIVED_UNIT)

_POD_RUNTIMES = " ".join(
    "%s.service" % name
    for name in (
        "kubelet",
        "containerd",
        "crio",
        "docker",
        "cri-docker",
        "k3s",
        "k3s-agent",
        "rke2-server",
        "rke2-agent",
        "k0scontroller",
        "k0sworker",
    )
)

_SOUND, _FAILED = "not failed", "failed"
_AT_BOOT, _STATE, _NOW = "at boot", "state", "now"
_VERBS: Mapping[Part, tuple[str, str]] = {
    _AT_BOOT: ("enable", "disable"),
    _STATE: ("reset-failed", "reset-failed"),
    _NOW: ("start", "stop"),
}
"""By what of a unit differs: what systemctl does where that is to come, and where it is to go."""


class Units(Resource):
    """Our unit files, that they are enabled, that none has failed, and that the guard is active.

    What a failed one should have done, the other resources do: the restore unit is for boot, and the daemons' are
    started by those who know their configuration, who also end them. What else a boot has left active is ended when it
    goes: systemd would keep it, without a file, until the next boot.
    """

    def __init__(self, paths: Paths, files: Mapping[str, str]) -> None:
        self._paths = paths
        self._units = units(paths, files)

    def desired(self) -> Items:
        items: dict[Key, Item] = {}
        for name, text in self._units.items():
            items[Key.of("unit", name)] = Item(_state(text), "restore at boot")
            items[Key.of("unit", name, _AT_BOOT)] = Item("enabled", "restore at boot")
            items[Key.of("unit", name, _STATE)] = Item(_SOUND, "restore at boot")
        if GUARD_UNIT in self._units:
            items[Key.of("unit", GUARD_UNIT, _NOW)] = Item("active", "restore at boot")
        return items

    def actual(self) -> Items:
        found = {}
        for name in _NAMES:
            path = self._paths.units / name
            if path.is_file():
                text = path.read_text(encoding="utf-8", errors="replace")
                found[Key.of("unit", name)] = Item(_state(text) + irregular(path))
        for properties in _shown(run(["systemctl", "show", "--property=Id,UnitFileState,ActiveState", *_NAMES]).stdout):
            name = properties.get("Id", "")
            if properties.get("UnitFileState") == "enabled":
                found[Key.of("unit", name, _AT_BOOT)] = Item("enabled")
            elif self._links(name):
                found[Key.of("unit", name, _AT_BOOT)] = Item("a link that leads nowhere")
            if name in self._units:
                found[Key.of("unit", name, _STATE)] = Item(
                    _FAILED if properties.get("ActiveState") == _FAILED else _SOUND
                )
            stays = name != GUARD_UNIT and (name in self._units or name in _DAEMONS)
            if properties.get("ActiveState") == "active" and not stays:
                found[Key.of("unit", name, _NOW)] = Item("active")
        return found

    def _links(self, name: str) -> list[Path]:
        """By which targets start the unit; systemctl knows them as long as the unit's file is there."""
        return [path for wants in self._paths.units.glob("*.wants") for path in [wants / name] if path.is_symlink()]

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        of_files = [change for change in changes if not change.key.parts[1:]]
        orders = [
            (_VERBS[change.key.parts[1]][change.action == "remove"], str(change.key.parts[0]))
            for change in changes
            if change.key.parts[1:]
        ]
        try:
            for verb, name in orders:
                if verb == "disable":
                    self._disable(name)
                elif verb == "stop":
                    run(["systemctl", "stop", name])
                    run(["systemctl", "reset-failed", name], check=False)
            for change in of_files:
                self._fix_file(change)
            run(["systemctl", "daemon-reload"])
            for verb, name in orders:
                if verb in ("enable", "reset-failed", "start"):
                    run(["systemctl", verb, name])
            gone = [name for name in _NAMES if name not in self._units]
            if gone:  # one that has failed would be shown as failed, without a file, to the next boot
                run(["systemctl", "reset-failed", *gone], check=False)
        except NodeError as error:
            return error
        except OSError as error:
            return NodeError("%s: %s" % (error.filename, error.strerror))
        return None

    def _disable(self, name: str) -> None:
        if (self._paths.units / name).is_file():
            run(["systemctl", "disable", name])
        for link in self._links(name):
            link.unlink()
            with contextlib.suppress(OSError):  # others' are there, too
                link.parent.rmdir()

    def _fix_file(self, change: Change) -> None:
        name = str(change.key.parts[0])
        path = self._paths.units / name
        if change.action == "remove":
            path.unlink()
        else:
            write(path, self._units[name], 0o644)


def units(paths: Paths, files: Mapping[str, str]) -> dict[str, str]:
    """The unit files of a node with these files; none for no files."""
    if not files:
        return {}
    found = {
        GUARD_UNIT: guard_unit(paths),
        RESTORE_UNIT: restore_unit(paths),
        AGENT_UNIT: agent_unit(paths),
    }
    if CONNTRACKD in files:
        found[CONNTRACKD_UNIT] = conntrackd_unit(paths)
    if KEEPALIVED in files:
        found[KEEPALIVED_UNIT] = keepalived_unit(paths)
    return found


def guard_unit(paths: Paths) -> str:
    """The table alone. nftables.service, which flushes all tables, comes before it, and later loads ours itself.

    See ``drop_ins.py``.
    """
    return """# Written by the Ansible collection egress.gateway, which also removes it.
[Unit]
Description=Egress gateway: what is governed does not leave by itself
Documentation=file:%(config)s
ConditionPathExists=%(config)s/%(ruleset)s
DefaultDependencies=no
RequiresMountsFor=%(config)s %(state)s
After=systemd-modules-load.service nftables.service
Wants=network-pre.target
Before=network-pre.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
# What nobody confirmed before the node went down is not what it comes up with.
ExecStartPre=-/bin/sh -c '[ ! -e %(boot)s ] || exec /bin/sh %(boot)s'
ExecStart=%(load)s
ExecReload=%(load)s

[Install]
WantedBy=multi-user.target
""" % {
        "config": paths.config,
        "state": paths.state,
        "ruleset": RULESET,
        "boot": paths.boot,
        "load": _load(paths, RULESET),
    }


def _load(paths: Paths, name: str) -> str:
    """The same for every node and bundle: at boot the files may be those of the bundle before."""
    if name == RULESET:
        return load_ruleset(paths)
    return "/bin/sh -c '[ ! -e %(file)s ] || exec %(tool)s %(file)s'" % {
        "file": paths.file(name),
        "tool": LOADERS[name],
    }


def restore_unit(paths: Paths) -> str:
    load = "\n".join("ExecStart=" + _load(paths, name) for name in LOADERS)
    return """# Written by the Ansible collection egress.gateway, which also removes it.
[Unit]
Description=Egress gateway: restore tunnel, rules and nftables
Documentation=file:%(config)s
ConditionPathExists=%(config)s/%(ruleset)s
Wants=network-online.target %(guard)s
After=network-online.target systemd-networkd.service systemd-sysctl.service firewalld.service %(guard)s
Before=%(runtimes)s

[Service]
Type=oneshot
RemainAfterExit=yes
# A second start begins from nothing, too. At boot there is nothing to take away.
ExecStartPre=-ip rule flush protocol %(protocol)d
ExecStartPre=-ip -6 rule flush protocol %(protocol)d
ExecStartPre=-ip route flush table all protocol %(protocol)d
ExecStartPre=-ip -6 route flush table all protocol %(protocol)d
ExecStartPre=-ip link delete dev %(device)s
ExecStartPre=-ip link delete dev %(veth)s
%(load)s

[Install]
WantedBy=multi-user.target
""" % {
        "config": paths.config,
        "guard": GUARD_UNIT,
        "ruleset": RULESET,
        "runtimes": _POD_RUNTIMES,
        "protocol": ROUTE_PROTOCOL,
        "device": TUNNEL_DEVICE,
        "veth": WORKER_DEVICE,
        "load": load,
    }


def agent_unit(paths: Paths) -> str:
    """Beside everything else: a new start of the restore unit takes our rules away and must not meet the agent."""
    return """# Written by the Ansible collection egress.gateway, which also removes it.
[Unit]
Description=Egress gateway: brings back what others take away
Documentation=file:%(config)s
ConditionPathExists=%(program)s
RequiresMountsFor=%(config)s %(state)s
After=%(restore)s
PartOf=%(restore)s
StartLimitIntervalSec=0

[Service]
Type=simple
RuntimeDirectory=egress-gateway
RuntimeDirectoryPreserve=yes
ExecStart=/bin/sh -c 'exec $$(command -v python3 || echo /usr/libexec/platform-python) -I %(program)s systemd'
Restart=always
RestartSec=1s
OOMScoreAdjust=-500

[Install]
WantedBy=multi-user.target %(restore)s
""" % {
        "config": paths.config,
        "state": paths.state,
        "program": paths.agent,
        "restore": RESTORE_UNIT,
    }


def keepalived_unit(paths: Paths) -> str:
    remember = "/bin/sh -c 'cd %s && sha256sum keepalived.conf $$(ls | grep [.]sh$$) >%s'" % (
        paths.config,
        paths.keepalived_loaded,
    )
    return """# Written by the Ansible collection egress.gateway, which also removes it.
[Unit]
Description=Egress gateway: VRRP for the egress addresses
Documentation=man:keepalived(8) man:keepalived.conf(5)
ConditionPathExists=%(conf)s
After=network-online.target %(restore)s
StartLimitIntervalSec=0

[Service]
Type=simple
RuntimeDirectory=egress-gateway
RuntimeDirectoryPreserve=yes
Environment=LC_ALL=C
# What is loaded is written down, so that apply and verify know whether a reload is due.
ExecStartPre=%(remember)s
ExecStart=keepalived --dont-fork --use-file=%(conf)s --pid=%(pid)s --vrrp_pid=%(vrrp)s -P
ExecReload=%(remember)s
ExecReload=kill -HUP $MAINPID
KillMode=process
# Whoever ends it by a signal, or it by itself: only systemctl stop means it.
Restart=always
RestartSec=1s

[Install]
WantedBy=multi-user.target
""" % {
        "conf": paths.file(KEEPALIVED),
        "restore": RESTORE_UNIT,
        "remember": remember,
        "pid": paths.keepalived_pid,
        "vrrp": paths.vrrp_pid,
    }


def conntrackd_unit(paths: Paths) -> str:
    return """# Written by the Ansible collection egress.gateway, which also removes it.
[Unit]
Description=Egress gateway: open connections for the other gateways
Documentation=man:conntrackd(8) man:conntrackd.conf(5)
ConditionPathExists=%(conf)s
After=network-online.target %(restore)s
Before=%(keepalived)s
StartLimitIntervalSec=0

[Service]
Type=simple
RuntimeDirectory=egress-gateway
RuntimeDirectoryPreserve=yes
Environment=LC_ALL=C
# What is loaded is written down, so that apply and verify know whether a restart is due.
ExecStartPre=/bin/sh -c 'sha256sum %(conf)s >%(loaded)s; rm -f %(lock)s %(socket)s'
ExecStart=conntrackd -C %(conf)s
ExecStartPost=-/bin/sh -c 'for try in 1 2 3 4 5; do [ -S %(socket)s ] && exec conntrackd -C %(conf)s -n; sleep 1; done'
# Whoever ends it by a signal, or it by itself: only systemctl stop means it.
Restart=always
RestartSec=1s

[Install]
WantedBy=multi-user.target
""" % {
        "conf": paths.file(CONNTRACKD),
        "restore": RESTORE_UNIT,
        "keepalived": KEEPALIVED_UNIT,
        "loaded": paths.conntrackd_loaded,
        "lock": paths.conntrackd_lock,
        "socket": paths.conntrackd_socket,
    }


def _shown(text: str) -> list[dict[str, str]]:
    """What ``systemctl show`` prints: KEY=VALUE, with an empty line between units."""
    return [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in text.split("\n\n")]


def _state(text: str) -> str:
    return "\n" + text
