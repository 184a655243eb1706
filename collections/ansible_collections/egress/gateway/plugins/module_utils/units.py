# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""systemd units: the one restores the node at boot without controller, the other runs keepalived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ansible_collections.egress.gateway.plugins.module_utils.command import NodeError, run
from ansible_collections.egress.gateway.plugins.module_utils.files import write
from ansible_collections.egress.gateway.plugins.module_utils.node import (
    CONNTRACKD,
    DEVICE,
    KEEPALIVED,
    PROTOCOL,
    RULESET,
    WIRE,
    Paths,
)
from ansible_collections.egress.gateway.plugins.module_utils.resource import Change, Item, Items, Resource

RESTORE_UNIT = "egress-gateway.service"
KEEPALIVED_UNIT = "egress-gateway-keepalived.service"
CONNTRACKD_UNIT = "egress-gateway-conntrackd.service"

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
_LOADERS = (
    ("vxlan.batch", "ip -batch"),
    ("fdb.batch", "bridge -batch"),
    (RULESET, "nft -f"),
    ("sysctl.conf", "sysctl --load"),
    ("routes.batch", "ip -batch"),
    ("routes6.batch", "ip -6 -batch"),
)
"""What loads which file, in order; pods start after all of it. Sysctls of connection tracking exist after nft."""


class Units(Resource):
    """Our unit files, and that they are enabled. Nothing is started here: the restore unit is for boot."""

    def __init__(self, paths: Paths, files: Mapping[str, str]) -> None:
        self._paths = paths
        self._units = units(paths, files)

    def desired(self) -> Items:
        items = {}
        for name, text in self._units.items():
            items["unit " + name] = Item(_state(text), "restore at boot")
            items["unit %s at boot" % name] = Item("enabled", "restore at boot")
        return items

    def actual(self) -> Items:
        found = {}
        for name in (RESTORE_UNIT, CONNTRACKD_UNIT, KEEPALIVED_UNIT):
            path = self._paths.units / name
            if path.is_file():
                found["unit " + name] = Item(_state(path.read_text(encoding="utf-8", errors="replace")))
            done = run(["systemctl", "is-enabled", name], check=False)
            if done.stdout.strip() == "enabled":
                found["unit %s at boot" % name] = Item("enabled")
        return found

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        try:
            enablement = [c for c in changes if c.object.endswith(" at boot")]
            for change in enablement:
                if change.action == "remove":
                    run(["systemctl", "disable", change.object.split(" ")[1]])
            for change in changes:
                if change not in enablement:
                    self._fix_file(change)
            run(["systemctl", "daemon-reload"])
            for change in enablement:
                if change.action != "remove":
                    run(["systemctl", "enable", change.object.split(" ")[1]])
        except NodeError as error:
            return error
        except OSError as error:
            return NodeError("%s: %s" % (error.filename, error.strerror))
        return None

    def _fix_file(self, change: Change) -> None:
        name = change.object.split(" ")[1]
        path = self._paths.units / name
        if change.action == "remove":
            path.unlink()
        else:
            write(path, self._units[name], 0o644)


def units(paths: Paths, files: Mapping[str, str]) -> dict[str, str]:
    """The unit files of a node with these files; none for no files."""
    if not files:
        return {}
    found = {RESTORE_UNIT: restore_unit(paths)}
    if CONNTRACKD in files:
        found[CONNTRACKD_UNIT] = conntrackd_unit(paths)
    if KEEPALIVED in files:
        found[KEEPALIVED_UNIT] = keepalived_unit(paths)
    return found


def restore_unit(paths: Paths) -> str:
    """The same for every node and bundle: at boot the files may be those of the bundle before."""
    load = "\n".join(
        "ExecStart=/bin/sh -c '[ ! -e %(file)s ] || exec %(tool)s %(file)s'" % {"file": paths.file(name), "tool": tool}
        for name, tool in _LOADERS
    )
    return """# Written by the Ansible collection egress.gateway, which also removes it.
[Unit]
Description=Egress gateway: restore tunnel, rules and nftables
Documentation=file:%(config)s
ConditionPathExists=%(config)s/%(ruleset)s
RequiresMountsFor=%(config)s %(state)s
Wants=network-online.target
After=network-online.target systemd-sysctl.service nftables.service firewalld.service
Before=%(runtimes)s

[Service]
Type=oneshot
RemainAfterExit=yes
# What nobody confirmed before the node went down is not what it comes up with.
ExecStartPre=-/bin/sh -c '[ ! -e %(boot)s ] || exec /bin/sh %(boot)s'
# A second start begins from nothing, too. At boot there is nothing to take away.
ExecStartPre=-ip rule flush protocol %(protocol)d
ExecStartPre=-ip -6 rule flush protocol %(protocol)d
ExecStartPre=-ip route flush table all protocol %(protocol)d
ExecStartPre=-ip -6 route flush table all protocol %(protocol)d
ExecStartPre=-ip link delete dev %(device)s
ExecStartPre=-ip link delete dev %(wire)s
%(load)s

[Install]
WantedBy=multi-user.target
""" % {
        "config": paths.config,
        "state": paths.state,
        "boot": paths.boot,
        "ruleset": RULESET,
        "runtimes": _POD_RUNTIMES,
        "protocol": PROTOCOL,
        "device": DEVICE,
        "wire": WIRE[0],
        "load": load,
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
Restart=on-failure
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

[Service]
Type=simple
RuntimeDirectory=egress-gateway
RuntimeDirectoryPreserve=yes
Environment=LC_ALL=C
# What is loaded is written down, so that apply and verify know whether a restart is due.
ExecStartPre=/bin/sh -c 'sha256sum %(conf)s >%(loaded)s; rm -f %(lock)s %(socket)s'
ExecStart=conntrackd -C %(conf)s
ExecStartPost=-/bin/sh -c 'for try in 1 2 3 4 5; do [ -S %(socket)s ] && exec conntrackd -C %(conf)s -n; sleep 1; done'
Restart=on-failure
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


def _state(text: str) -> str:
    return "\n" + text
