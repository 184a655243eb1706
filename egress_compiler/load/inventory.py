"""Per-node facts from the Ansible inventory: device, MTU and subnets of the uplink, and further uplinks."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from egress_compiler.diagnostics import Collector, quoted
from egress_compiler.load.files import POLICY_LIMIT, read_bytes, shown
from egress_compiler.load.uplinks import INTERFACE, Problem, clash, parse_further, parse_gateways
from egress_compiler.model.settings import Settings, Uplink
from egress_compiler.net import FAMILIES, AddressError, Family, Interval, Intervals, parse_span, union
from egress_compiler.source import Position, SourceFile
from egress_compiler.validate.names import is_subdomain

INTERFACE_VARIABLE = "egress_interface"
MTU_VARIABLE = "egress_mtu"
NODE_VARIABLE = "egress_node_name"
CIDRS_VARIABLE = "egress_uplink_cidrs"
FURTHER_VARIABLE = "egress_uplinks"
GATEWAYS_VARIABLE = "egress_uplink_gateways"
DEFAULTS_VARIABLE = "egress_default_interfaces"

_NUMBER = re.compile(r"[1-9][0-9]{3,4}")
_PLACE_IN_TEXT = re.compile(r"line (\d+)(?:,? column (\d+))?")
SMALLEST_MTU, LARGEST_MTU = 1280, 65535


def load_uplinks(path: Path | None, settings: Settings, found: Collector) -> Mapping[str, Uplink]:
    """Node name to uplink, for the hosts of an Ansible inventory that say something about it.

    The inventory is read by ansible-core itself, so host_vars, group_vars and every format it knows count.
    """
    if path is None or not _readable(path, found):
        return {}
    if path.suffix in (".yaml", ".yml", ".json") and not _is_yaml(path, found):
        return {}
    errors = found.errors
    hosts = _inventory_variables(path, found)
    if not hosts and found.errors == errors:
        hint = "is it an inventory? `ansible-inventory --list` shows what Ansible makes of it"
        found.error("inventory", f"there is no host in {shown(path)}", None, hint=hint)
    return dict(_uplink(host, variables, path, settings, found) for host, variables in sorted(hosts.items()))


def _readable(path: Path, found: Collector) -> bool:
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            return True
    except (OSError, ValueError):
        pass  # reading it says why
    return read_bytes(path, found, POLICY_LIMIT) is not None


def _is_yaml(path: Path, found: Collector) -> bool:
    """Ansible passes over a file that it cannot parse, with a line on standard error; here that is an error."""
    content = read_bytes(path, Collector(), POLICY_LIMIT)
    try:
        for _ in yaml.parse(content or b"", Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            pass
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        place = _in_file(path, mark.line + 1, mark.column + 1) if mark is not None else None
        what = getattr(problem, "problem", None) or "control characters, or no text"
        found.error("inventory", f"this is not YAML: {what}", place)
        return False
    return True


def _uplink(
    host: str, variables: Mapping[str, Any], top: Path, settings: Settings, found: Collector
) -> tuple[str, Uplink]:
    """What the host's variables say, the settings where they say nothing or something wrong."""

    def wrong(variable: str, value: object, what: str, hint: str = "") -> None:
        message = f"{variable} of host {quoted(host)} is {quoted(str(value))}; it must be {what}"
        found.error("inventory", message, _place(value, top) or _only_place(variable, top), hint=hint)

    name = variables.get(NODE_VARIABLE, host)
    if not isinstance(name, str) or not is_subdomain(name):
        if NODE_VARIABLE in variables:
            wrong(NODE_VARIABLE, name, "the name of a Kubernetes node")
        name = host
    interface = variables.get(INTERFACE_VARIABLE, settings.interface)
    if not isinstance(interface, str) or not INTERFACE.fullmatch(interface):
        wrong(INTERFACE_VARIABLE, interface, "the name of a network device", "at most 15 letters, digits and _ . @ -")
        interface = settings.interface
    mtu = variables.get(MTU_VARIABLE, settings.uplink_mtu)
    if isinstance(mtu, bool) or not _NUMBER.fullmatch(str(mtu)) or not SMALLEST_MTU <= int(str(mtu)) <= LARGEST_MTU:
        wrong(MTU_VARIABLE, mtu, f"a number from {SMALLEST_MTU} to {LARGEST_MTU}")
        mtu = settings.uplink_mtu
    cidrs = settings.uplink_cidrs
    if CIDRS_VARIABLE in variables:
        given = variables[CIDRS_VARIABLE]
        parsed = _cidrs(given)
        if parsed is None:
            wrong(CIDRS_VARIABLE, given, "a list of CIDRs", "such as [10.6.1.0/24]")
        cidrs = parsed or settings.uplink_cidrs

    def report(variable: str, problems: Sequence[Problem]) -> None:
        given = variables[variable]
        for problem in problems:
            entry = f"entry {problem.path[0] + 1}: " if problem.path and isinstance(problem.path[0], int) else ""
            message = f"{variable} of host {quoted(host)}: {entry}{problem.message}"
            where = _place(_at(given, problem.path), top) or _place(given, top) or _only_place(variable, top)
            found.error("uplinks", message, where, hint=problem.hint)

    further = settings.further_uplinks
    if FURTHER_VARIABLE in variables:
        further, problems = parse_further(variables[FURTHER_VARIABLE])
        report(FURTHER_VARIABLE, problems)
    gateways = settings.uplink_gateways
    if GATEWAYS_VARIABLE in variables:
        gateways, problems = parse_gateways(variables[GATEWAYS_VARIABLE], cidrs)
        report(GATEWAYS_VARIABLE, problems)
    defaults = _default_interfaces(variables.get(DEFAULTS_VARIABLE, {}))
    if defaults is None:
        wrong(DEFAULTS_VARIABLE, variables[DEFAULTS_VARIABLE], "devices by family", "such as {ipv4: eth1}")
    if misfit := clash(str(interface), cidrs, further):
        where = _place(variables.get(FURTHER_VARIABLE), top) or _place(variables.get(INTERFACE_VARIABLE), top)
        hint = f"set {INTERFACE_VARIABLE}, {CIDRS_VARIABLE} or {FURTHER_VARIABLE} of the host"
        found.error("uplinks", f"of host {quoted(host)}: {misfit.message}", where, hint=hint)
    return str(name), Uplink(str(interface), int(str(mtu)), cidrs, further, gateways, defaults or {})


def _default_interfaces(given: object) -> Mapping[Family, str] | None:
    """None where it is no mapping of families to devices; a family without a default route has an empty one."""
    names: Mapping[Family, str] = {4: "ipv4", 6: "ipv6"}
    if not isinstance(given, Mapping) or not {str(key) for key in given} <= {*names.values()}:
        return None
    devices = {family: str(given[name]) for family, name in names.items() if given.get(name)}
    return devices if all(INTERFACE.fullmatch(device) for device in devices.values()) else None


def _at(value: Any, path: Sequence[str | int]) -> Any:
    """The part of ``value`` at ``path``, or as much of the way as there is."""
    for step in path:
        try:
            value = value[step]
        except (LookupError, TypeError):
            return value
    return value


def _cidrs(given: object) -> Mapping[Family, Intervals] | None:
    """None where it is no list of CIDRs; host bits may be set, as in the addresses that a node reports."""
    if not isinstance(given, Sequence) or isinstance(given, str):
        return None
    gathered: dict[Family, list[Interval]] = {4: [], 6: []}
    for text in given:
        try:
            span = parse_span(str(text), ranges=False)
        except AddressError:
            return None
        if span.prefix is None:
            return None
        gathered[span.family].append(span.interval)
    return {family: union(gathered[family]) for family in FAMILIES}


def _inventory_variables(path: Path, found: Collector) -> Mapping[str, Mapping[str, Any]]:
    try:
        # Imported here: ansible-core takes half a second, and most runs have no inventory. A bad ansible.cfg ends it.
        from ansible.inventory.manager import InventoryManager
        from ansible.parsing.dataloader import DataLoader
        from ansible.vars.manager import VariableManager

        find_collections()
        loader = DataLoader()
        inventory = InventoryManager(loader=loader, sources=[str(path)])
        variables = VariableManager(loader=loader, inventory=inventory)
        return {host.name: variables.get_vars(host=host, include_hostvars=False) for host in inventory.get_hosts()}
    except Exception as problem:
        # Inventory plugins raise what they like; whatever it is, the inventory is what is wrong.
        message = " ".join(str(problem).split())
        found.error("inventory", f"Ansible cannot read {shown(path)}: {message}", _place_in(message, path))
        return {}


def find_collections() -> None:
    """Lets ansible-core find plugins of collections, as its own programs do first of all; once a process."""
    from ansible.plugins.loader import init_plugin_loader
    from ansible.utils.collection_loader import AnsibleCollectionConfig

    if AnsibleCollectionConfig.collection_finder is None:
        init_plugin_loader()


def _place(value: object, top: Path) -> Position | None:
    """Where ansible-core read ``value``: since 2.19 it keeps that as a tag on the value.

    The file is named as the user names the inventory ``top``.
    """
    try:
        from ansible._internal._datatag._tags import Origin
    except ImportError:
        return None
    origin = Origin.get_tag(value)
    if origin is None or not origin.path or not origin.line_num:
        return None
    directory = top if top.is_dir() else top.parent
    file = Path(os.path.relpath(origin.path, directory.resolve()))
    return _in_file(directory / file, origin.line_num, origin.col_num or 1)


def _only_place(variable: str, top: Path) -> Position | None:
    """Where the inventory file sets ``variable``, if once: ansible-core keeps no place of true, false and null."""
    content = b"" if top.is_dir() else read_bytes(top, Collector(), POLICY_LIMIT) or b""
    text = content.decode("utf-8", "replace")
    places = [match.end() for match in re.finditer(rf"(?<!\w){variable}[ \t]*[:=][ \t]*", text)]
    if len(places) != 1:
        return None
    before = text[: places[0]]
    return _in_file(top, before.count("\n") + 1, len(before) - before.rfind("\n"))


def _place_in(message: str, path: Path) -> Position | None:
    line = _PLACE_IN_TEXT.search(message)
    return _in_file(path, int(line[1]), int(line[2] or 1)) if line else None


def _in_file(path: Path, line: int, column: int) -> Position:
    content = read_bytes(path, Collector(), POLICY_LIMIT) or b""
    return Position(SourceFile(shown(path), content.decode("utf-8", "replace")), line, column)
