# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Configuration of ours that other services of the host read: each a drop-in of its own beside theirs.

systemd-networkd removes the rules and routes that it did not make, when it starts and whenever it configures a link,
unless it is told not to; nftables.service flushes all tables whenever it starts, stops or reloads.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError, run
from ansible_collections.egress.gateway.plugins.module_utils.node import Paths
from ansible_collections.egress.gateway.plugins.module_utils.resources.files import irregular, path_of, write
from ansible_collections.egress.gateway.plugins.module_utils.resources.key import Key
from ansible_collections.egress.gateway.plugins.module_utils.resources.load_ruleset import load_ruleset
from ansible_collections.egress.gateway.plugins.module_utils.resources.resource import Change, Item, Items, Resource

_NETWORKD = ("/usr/lib/systemd/systemd-networkd", "/lib/systemd/systemd-networkd")
_KEYS = ("ManageForeignRoutingPolicyRules", "ManageForeignRoutes")
_NO = re.compile(r"no|false|0|off|n|f", re.IGNORECASE)
_ORIGIN = "kept by others' services"

_NETWORKD_TEXT = """# Written by the Ansible collection egress.gateway, which also removes it.
# The rules and routes of others, the egress gateway's among them, are not networkd's to remove.
[Network]
%s
""" % "\n".join("%s=no" % key for key in _KEYS)


class DropIns(Resource):
    """Files, by what has to happen for them to be heeded: nothing for networkd's, which it reads when it starts."""

    def __init__(self, paths: Paths, wanted: bool) -> None:
        self._paths = paths
        self._files = drop_ins(paths) if wanted else {}

    def desired(self) -> Items:
        return {_key(path): Item("\n" + text, _ORIGIN) for path, text in self._files.items()}

    def actual(self) -> Items:
        return {
            _key(path): Item("\n" + path.read_text(encoding="utf-8", errors="replace") + irregular(path))
            for path in (self._paths.networkd, self._paths.nftables)
            if path.is_file()
        }

    def fix(self, changes: Sequence[Change]) -> NodeError | None:
        try:
            for change in changes:
                path = path_of(change.key)
                if change.action == "remove":
                    path.unlink()
                    with contextlib.suppress(OSError):  # others' are there, too
                        path.parent.rmdir()
                else:
                    write(path, self._files[path], 0o644)
            if any(change.key == _key(self._paths.nftables) for change in changes):
                run(["systemctl", "daemon-reload"])
        except NodeError as error:
            return error
        except OSError as error:
            return NodeError("%s: %s" % (error.filename, error.strerror))
        return None


def drop_ins(paths: Paths) -> Mapping[Path, str]:
    """All of them; networkd's where it is installed."""
    found = {paths.nftables: nftables_text(paths)}
    if any(Path(program).exists() for program in _NETWORKD):
        found[paths.networkd] = _NETWORKD_TEXT
    return found


def nftables_text(paths: Paths) -> str:
    """Our table comes back with the job that flushed it, before whatever waits for that job goes on."""
    lines = "\n".join("%s=-%s" % (key, load_ruleset(paths)) for key in ("ExecStartPost", "ExecReload", "ExecStopPost"))
    return "# Written by the Ansible collection egress.gateway, which also removes it.\n[Service]\n%s\n" % lines


def networkd_warnings(paths: Paths, service: bool) -> list[str]:
    """Why a networkd that runs may take our rules and routes; without ``service`` there is no drop-in of ours."""
    if not paths.networkd_runs.exists():
        return []
    taking = [key for key, value in effective(paths, service).items() if not _NO.fullmatch(value)]
    if taking:
        return [
            "systemd-networkd removes the gateway's rules and routes whenever it starts: set %s in %s"
            % (
                " and ".join("%s=no" % key for key in taking),
                "the file that sets it after %s" % paths.networkd if service else "networkd.conf",
            )
        ]
    started = _started() if service else None
    if started is None or (paths.networkd.exists() and paths.networkd.stat().st_mtime < started):
        return []
    return [
        "systemd-networkd runs since before it was told to leave others' rules and routes alone, and may remove them "
        "when it configures a link, for the agent to bring back; it is told when it starts the next time"
    ]


def effective(paths: Paths, service: bool) -> dict[str, str]:
    """What networkd will read, as systemd reads drop-ins: by name whatever their directory, the last one counts."""
    roots = [paths.networkd.parent.parent, *map(Path, ("/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"))]
    files = {p.name: p for root in reversed(roots) for p in (root / "networkd.conf.d").glob("*.conf")}
    texts = {name: _text(path) for name, path in files.items()}
    if service:
        texts[paths.networkd.name] = _NETWORKD_TEXT
    main = next((_text(root / "networkd.conf") for root in roots if (root / "networkd.conf").is_file()), "")
    found = dict.fromkeys(_KEYS, "yes")
    for text in (main, *(texts[name] for name in sorted(texts))):
        for key, value in re.findall(r"^\s*(\w+)\s*=\s*(\S*)\s*$", text, re.MULTILINE):
            if key in found:
                found[key] = value
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:  # a link to nothing
        return ""


def _started() -> float | None:
    """When networkd was started, in seconds of the clock; None where it does not run."""
    properties = "--property=ActiveState,ExecMainStartTimestampMonotonic"
    shown = run(["systemctl", "show", properties, "systemd-networkd.service"], check=False).stdout
    found = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    if found.get("ActiveState") != "active":
        return None
    since_boot = int(found.get("ExecMainStartTimestampMonotonic") or 0) / 1e6
    return time.time() - time.clock_gettime(time.CLOCK_MONOTONIC) + since_boot


def _key(path: Path) -> Key:
    return Key.of("drop-in", str(path))
