# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""Connections as the kernel tracks them: listed, read and ended through conntrack(8)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ansible_collections.egress.gateway.plugins.module_utils.kernel.command import NodeError, find, run
from ansible_collections.egress.gateway.plugins.module_utils.kernel.reading import has_ipv6

_FIELD = re.compile(r"(src|dst|sport|dport|type|code|id|mark|zone|zone-orig)=(\S+)")
_WITH_PORTS = ("tcp", "udp", "sctp", "dccp", "udplite")


@dataclass(frozen=True)
class Connection:
    """``source`` and ``destination`` are those of the first packet, before any translation.

    Replies come from ``server`` and go to ``translated``.  ``zone`` is that of the original direction.
    """

    protocol: str
    source: str
    destination: str
    server: str
    translated: str
    mark: int
    zone: int
    fields: Mapping[str, str]


def require_conntrack() -> None:
    """NodeError where the tool is missing."""
    if find("conntrack") is None:
        raise NodeError("conntrack is not installed on this node, so open connections stay as they are")


def connections() -> Iterator[Connection]:
    """All that the kernel tracks, of every zone."""
    for family in ("ipv4", "ipv6") if has_ipv6() else ("ipv4",):
        yield from parse(run(["conntrack", "-L", "-f", family]).stdout)


def parse(text: str) -> Iterator[Connection]:
    """conntrack's listing: what a line says first is of the original direction, and of the reply what it says last."""
    for line in text.splitlines():
        pairs = _FIELD.findall(line)
        fields: dict[str, str] = {}
        for key, value in pairs:
            fields.setdefault(key, value)
        sources = [value for key, value in pairs if key == "src"]
        replies = [value for key, value in pairs if key == "dst"]
        if len(sources) == 2 and len(replies) == 2:
            zone = int(fields.get("zone", fields.get("zone-orig", "0")))
            mark = int(fields.get("mark", "0"))
            yield Connection(line.split()[0], sources[0], replies[0], sources[1], replies[1], mark, zone, fields)


def end(connection: Connection) -> None:
    """One that has closed by itself meanwhile is no failure."""
    run(_deletion(connection), check=False)


def _deletion(connection: Connection) -> list[str]:
    family = "ipv6" if ":" in connection.source else "ipv4"
    words = ["conntrack", "-D", "-f", family, "-p", connection.protocol]
    words += ["-s", connection.source, "-d", connection.destination]
    fields = connection.fields
    if connection.protocol in _WITH_PORTS:
        words += ["--sport", fields["sport"], "--dport", fields["dport"]]
    elif "id" in fields:
        kind = "icmpv6" if family == "ipv6" else "icmp"
        for name in ("type", "code", "id"):
            words += ["--%s-%s" % (kind, name), fields[name]]
    if "zone" in fields:
        words += ["--zone", fields["zone"]]
    elif "zone-orig" in fields:
        words += ["--orig-zone", fields["zone-orig"]]
    return words


def end_all_from(address: str) -> None:
    """Every connection that began from an address. Where there is none, or no conntrack, that is no failure."""
    if find("conntrack") is not None:
        run(["conntrack", "-D", "-f", "ipv6" if ":" in address else "ipv4", "-s", address], check=False)
