"""The nft table that stands for the CNI and kube-proxy on every node: masquerade, and Services. Pure."""

from collections.abc import Sequence

from egress_compiler.lab.topology import LabService, LabTopology

TABLE = "lab_cni"


def ruleset(topology: LabTopology) -> str:
    """What pods send out of the cluster gets the node's address; what is sent to a Service goes to a backend."""
    blocks = []
    for keyword, kind, wants6 in (("ip", "ipv4_addr", False), ("ip6", "ipv6_addr", True)):
        pods = [cidr for cidr in topology.pod_cidrs if (":" in cidr) == wants6]
        inside = [cidr for cidr in (*topology.pod_cidrs, *topology.service_cidrs) if (":" in cidr) == wants6]
        blocks += [_set(f"pods_{keyword}", kind, pods), _set(f"cluster_{keyword}", kind, inside)]
    services = [_dnat(service) for service in topology.services]
    return "\n".join(
        [
            f"table inet {TABLE} {{",
            *blocks,
            "chain services {",
            *services,
            "}",
            "chain prerouting { type nat hook prerouting priority dstnat; jump services; }",
            "chain output { type nat hook output priority -100; jump services; }",
            "chain postrouting {",
            "type nat hook postrouting priority srcnat;",
            "ip saddr @pods_ip ip daddr != @cluster_ip masquerade",
            "ip6 saddr @pods_ip6 ip6 daddr != @cluster_ip6 masquerade",
            "}",
            "}",
            "",
        ]
    )


def _set(name: str, kind: str, cidrs: Sequence[str]) -> str:
    elements = f" elements = {{ {', '.join(cidrs)} }};" if cidrs else ""
    return f"set {name} {{ type {kind}; flags interval; auto-merge;{elements} }}"


def _dnat(service: LabService) -> str:
    keyword = "ip6" if ":" in service.address else "ip"
    backends = ", ".join(f"{i} : {address} . {port}" for i, (address, port) in enumerate(service.backends))
    target = f"numgen inc mod {len(service.backends)} map {{ {backends} }}"
    return f"{keyword} daddr {service.address} {service.protocol} dport {service.port} dnat {keyword} to {target}"
