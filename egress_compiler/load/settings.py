"""The settings file, and per-node facts from the Ansible inventory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from egress_compiler.diagnostics import Collector, printable, quoted
from egress_compiler.document import Document
from egress_compiler.load.files import read_source
from egress_compiler.load.yaml_text import parse_yaml
from egress_compiler.model.settings import Settings, TunnelSettings, Uplink, VrrpSettings
from egress_compiler.net import Family, Interval
from egress_compiler.validate import values
from egress_compiler.validate.shape import check_shape, without_nulls

_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@:-]{0,14}\Z")
INTERFACE_VARIABLE = "egress_interface"
MTU_VARIABLE = "egress_mtu"
NODE_VARIABLE = "egress_node_name"


def load_settings(path: Path | None, found: Collector) -> Settings:
    """The settings of the file, defaults where it says nothing or there is none."""
    if path is None:
        return Settings()
    source = read_source(path, found)
    documents = parse_yaml(source, found) if source is not None else ()
    if not documents:
        return Settings()
    if len(documents) > 1:
        found.error("two-documents", "a settings file has one document", documents[1].at())
    first = documents[0]
    document = Document(first.source, without_nulls(first.data), first.places)
    return _settings(document, found) if check_shape(document, "settings", found) else Settings()


def _settings(document: Document, found: Collector) -> Settings:
    data: Any = document.data
    defaults, tunnel, vrrp = Settings(), data.get("tunnel", {}), data.get("vrrp", {})
    subnets, prefixes = dict(defaults.tunnel.subnets), dict(defaults.tunnel.prefixes)
    for family in (4, 6):
        _tunnel_subnet(document, tunnel, family, subnets, prefixes, found)
    return Settings(
        interface=data.get("interface", defaults.interface),
        uplink_mtu=data.get("uplinkMTU", defaults.uplink_mtu),
        endpoint_slice_size=data.get("endpointSliceSize", defaults.endpoint_slice_size),
        service_cidrs=values.spans(document, ("serviceCIDRs",), data.get("serviceCIDRs", ()), found, ranges=False),
        pod_cidrs=values.spans(document, ("podCIDRs",), data.get("podCIDRs", ()), found, ranges=False),
        tunnel=TunnelSettings(
            vni=tunnel.get("vni", defaults.tunnel.vni),
            port=tunnel.get("port", defaults.tunnel.port),
            subnets=subnets,
            prefixes=prefixes,
            mtu=tunnel.get("mtu"),
        ),
        vrrp=VrrpSettings(
            advert_ms=vrrp.get("advertIntervalMs", defaults.vrrp.advert_ms),
            first_vrid=vrrp.get("firstVRID", defaults.vrrp.first_vrid),
            preempt=vrrp.get("preempt", defaults.vrrp.preempt),
        ),
    )


def _tunnel_subnet(
    document: Document,
    tunnel: Mapping[str, Any],
    family: Family,
    subnets: dict[Family, Interval],
    prefixes: dict[Family, int],
    found: Collector,
) -> None:
    key = f"ipv{family}Subnet"
    if key not in tunnel:
        return
    span = values.span(document, ("tunnel", key), tunnel[key], found, ranges=False)
    if span is None:
        return
    if span.family != family or span.prefix is None or span.interval.last - span.interval.first < 15:
        found.error(
            "tunnel-subnet", f"{key} must be an IPv{family} CIDR of 16 addresses or more", document.at("tunnel", key)
        )
        return
    subnets[family], prefixes[family] = span.interval, span.prefix


def load_uplinks(path: Path | None, settings: Settings, found: Collector) -> Mapping[str, Uplink]:
    """Node name to uplink, for the hosts of an Ansible inventory that say something about it.

    The inventory is read by ansible-core itself, so host_vars, group_vars and every format it knows count.
    """
    if path is None:
        return {}
    if not path.exists():
        found.error("no-files", f"{printable(str(path))} does not exist", None)
        return {}
    uplinks: dict[str, Uplink] = {}
    for host, variables in sorted(_inventory_variables(path, found).items()):
        name = str(variables.get(NODE_VARIABLE, host))
        interface = variables.get(INTERFACE_VARIABLE, settings.interface)
        mtu = variables.get(MTU_VARIABLE, settings.uplink_mtu)
        if not isinstance(interface, str) or not _INTERFACE.match(interface):
            found.error("inventory", f"{INTERFACE_VARIABLE} of host {quoted(host)} is no device name", None)
        elif isinstance(mtu, bool) or not str(mtu).isdigit() or not 1280 <= int(str(mtu)) <= 65535:
            found.error("inventory", f"{MTU_VARIABLE} of host {quoted(host)} is no MTU from 1280 to 65535", None)
        else:
            uplinks[name] = Uplink(str(interface), int(str(mtu)))  # a plain str: Ansible tags its strings
    return uplinks


def _inventory_variables(path: Path, found: Collector) -> Mapping[str, Mapping[str, Any]]:
    # Imported here: ansible-core takes half a second, and most runs have no inventory.
    from ansible.errors import AnsibleError
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader
    from ansible.vars.manager import VariableManager

    try:
        loader = DataLoader()
        inventory = InventoryManager(loader=loader, sources=[str(path)])
        variables = VariableManager(loader=loader, inventory=inventory)
        return {host.name: variables.get_vars(host=host, include_hostvars=False) for host in inventory.get_hosts()}
    except AnsibleError as problem:
        found.error("inventory", f"{printable(str(path))}: {printable(str(problem))}", None)
        return {}
