"""Namespaces, uplinks, pods and routes of a lab: what `up` makes and `down` removes.

Nothing of it touches the network namespace of this machine: bridge and veths are made inside the lab's own.
"""

import hashlib
from collections.abc import Mapping, Sequence

from egress_compiler.lab import cni, processes, state
from egress_compiler.lab.addressing import overlap, parse_network
from egress_compiler.lab.errors import LabError
from egress_compiler.lab.run import ip_batch, run
from egress_compiler.lab.topology import DEFAULT_MTU, LabNode, LabPod, LabTopology, host_route, prefix_length

BRIDGE = "br0"
POD_DEVICE = "eth0"

_POD_GATEWAY4 = "169.254.1.1"
_POD_GATEWAY_MAC = "ee:ee:ee:ee:ee:ee"
"""The node's side of every pod's veth, as Calico has it: the pod needs no answer to ARP."""
_POD_GATEWAY6 = "fe80::ecee:eeff:feee:eeee"
"""The link-local address that the kernel derives from that MAC."""

_HOST_SYSCTLS = {
    "net/ipv6/conf/all/accept_dad": "0",
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/default/accept_ra": "0",
}
_NODE_SYSCTLS = {
    **_HOST_SYSCTLS,
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/rp_filter": "1",
    "net/ipv4/conf/default/rp_filter": "1",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv6/conf/default/forwarding": "1",
}
_FABRIC_SYSCTLS = {"net/ipv6/conf/all/disable_ipv6": "1", "net/ipv6/conf/default/disable_ipv6": "1"}


def create_namespaces(name: str, topology: LabTopology, lock: int) -> None:
    """Makes the namespaces, empty. `lock` is the machine lock, which `ip` holds to its end if this process dies."""
    ip_batch(None, [f"netns add {state.netns(name, host)}" for host in topology.hosts], keep=[lock])


def build_network(name: str, topology: LabTopology, *, uplinks: bool = True) -> None:
    """Devices, addresses, routes, sysctls and the CNI's table in namespaces that are empty.

    Without ``uplinks`` the nodes' uplinks have no addresses and routes, and are down: nodes see to that when they boot.
    """
    nodes = {node.name for node in topology.nodes}
    for host in topology.hosts:
        sysctls = _FABRIC_SYSCTLS if host == "fabric" else _NODE_SYSCTLS if host in nodes else _HOST_SYSCTLS
        _set_sysctls(state.netns(name, host), sysctls)
    ip_batch(state.netns(name, "fabric"), _fabric(name, topology))
    ip_batch(state.netns(name, "outside"), _outside(topology))
    ip_batch(state.netns(name, "controller"), _attached(topology, "eth0", topology.controller))
    for node in topology.nodes:
        _build_node(name, topology, node, uplinks)


def _build_node(name: str, topology: LabTopology, node: LabNode, uplink: bool) -> None:
    """A node whose uplink is there, and its pods."""
    ip_batch(state.netns(name, node.name), _node(name, topology, node))
    if uplink:
        ip_batch(state.netns(name, node.name), _uplink(topology, node))
    run(["ip", "netns", "exec", state.netns(name, node.name), "nft", "-f", "-"], stdin=cni.ruleset(topology))
    for pod in topology.pods:
        if pod.node == node.name:
            ip_batch(state.netns(name, pod.host), _pod(pod))


def add_pod(name: str, pod: LabPod, lock: int) -> None:
    """A pod's namespace and network, on a node that runs. `lock` is the machine lock, as `create_namespaces` has it."""
    namespace = state.netns(name, pod.host)
    ip_batch(None, [f"netns add {namespace}"], keep=[lock])
    _set_sysctls(namespace, _HOST_SYSCTLS)
    ip_batch(state.netns(name, pod.node), _to_pod(name, pod))
    ip_batch(namespace, _pod(pod))


def remove_pod(name: str, pod: LabPod) -> None:
    """Its device first: the kernel takes a namespace apart some time later. Whatever of it is there goes."""
    run(["ip", "-n", state.netns(name, pod.node), "link", "delete", pod.device], check=False)
    if (state.NETNS_ROOT / state.netns(name, pod.host)).exists():
        _delete(state.netns(name, pod.host))


def unplug_node(name: str, topology: LabTopology, node: LabNode) -> None:
    """A node's network is gone at once, with what the kernel knew; its pods' devices go with it."""
    ip_batch(state.netns(name, "fabric"), [f"link delete {node.port}"])
    for pod in topology.pods:  # now: the kernel takes a namespace apart some time after its last process has ended
        if pod.node == node.name:
            run(["ip", "-n", state.netns(name, pod.host), "link", "delete", POD_DEVICE], check=False)
    processes.kill_all([state.netns(name, node.name)])
    with state.machine_lock():
        _delete(state.netns(name, node.name))


def rebuild_node(name: str, topology: LabTopology, node: LabNode, *, uplink: bool = True) -> None:
    """The network of a node that was unplugged, as it was at first."""
    namespace = state.netns(name, node.name)
    with state.machine_lock() as lock:
        ip_batch(None, [f"netns add {namespace}"], keep=[lock])
    _set_sysctls(namespace, _NODE_SYSCTLS)
    cables = _cable(name, node.port, node.name, node.interface, node.mtu)
    for number, segment in enumerate(topology.segments):
        if node.name in segment.nodes:
            cables += _segment_cable(name, number, node.name, segment.interface, node.port)
    ip_batch(state.netns(name, "fabric"), cables)
    _build_node(name, topology, node, uplink)


def tear_down(name: str) -> None:
    """Kills what runs in the lab's namespaces and removes them and the lab's directory, however much there is."""
    processes.kill_all(state.namespaces(name))
    with state.machine_lock():
        for namespace in state.namespaces(name):
            _delete(namespace)
        state.remove(name)


def set_uplink(name: str, node: LabNode, *, up: bool) -> None:
    """Plugs or pulls the cable of a node at the fabric's end: the node sees its carrier go or come."""
    ip_batch(state.netns(name, "fabric"), [f"link set dev {node.port} {'up' if up else 'down'}"])


def _delete(namespace: str) -> None:
    """A namespace file without a namespace, as an interrupted `ip netns add` leaves it, goes as well."""
    done = run(["ip", "netns", "del", namespace], check=False)
    path = state.NETNS_ROOT / namespace
    if done.returncode != 0 and path.exists():
        raise LabError(f"cannot remove the namespace {namespace}: {done.stderr.strip()}")


def _set_sysctls(namespace: str, values: Mapping[str, str]) -> None:
    script = "".join(f"echo {value} > /proc/sys/{key}\n" for key, value in values.items())
    run(["ip", "netns", "exec", namespace, "sh", "-e"], stdin=script)


def _fabric(name: str, topology: LabTopology) -> list[str]:
    commands = [f"link add {BRIDGE} type bridge mcast_snooping 0", f"link set {BRIDGE} up"]
    cables = [(node.port, node.name, node.interface, node.mtu) for node in topology.nodes]
    jumbo = max(node.mtu for node in topology.nodes)
    cables += [(host, host, "eth0", jumbo) for host in ("outside", "controller")]
    for port, host, interface, mtu in cables:
        commands += _cable(name, port, host, interface, mtu)
    ports = {node.name: node.port for node in topology.nodes}
    for number, segment in enumerate(topology.segments):
        commands += [f"link add {_bridge(number)} type bridge mcast_snooping 0", f"link set {_bridge(number)} up"]
        commands += _segment_cable(name, number, "outside", f"lab{number}", "out")
        for host in segment.nodes:
            commands += _segment_cable(name, number, host, segment.interface, ports[host])
    return commands


def _bridge(segment: int) -> str:
    return f"seg{segment}"


def segment_port(segment: int, port: str) -> str:
    """The fabric's side of a host's device in a further network; ``port`` is that of its uplink."""
    return f"s{segment}{port}"


def _segment_cable(name: str, number: int, host: str, interface: str, port: str) -> list[str]:
    return _cable(name, segment_port(number, port), host, interface, DEFAULT_MTU, _bridge(number))


def _cable(name: str, port: str, host: str, interface: str, mtu: int, bridge: str = BRIDGE) -> list[str]:
    """From a port of the bridge to a host's device, which has the same MAC address after a reboot."""
    digest = hashlib.sha256(port.encode()).hexdigest()
    mac = ":".join(["02", *(digest[i : i + 2] for i in range(0, 10, 2))])
    peer = f"name {interface} address {mac} mtu {mtu} netns {state.netns(name, host)}"
    return [f"link add {port} mtu {mtu} type veth peer {peer}", f"link set {port} master {bridge} up"]


def _attached(topology: LabTopology, interface: str, addresses: Sequence[str]) -> list[str]:
    """Loopback, an uplink with its addresses, and default routes by the outside host where it is another."""
    commands = ["link set lo up", *(_add(topology, ip, interface) for ip in addresses), f"link set {interface} up"]
    families = {":" in ip for ip in addresses}
    gateways = [ip for ip in topology.outside.gateways if (":" in ip) in families]
    return commands + [f"route add default via {ip} dev {interface}" for ip in gateways]


def _add(topology: LabTopology, address: str, interface: str) -> str:
    nodad = " nodad" if ":" in address else ""
    return f"address add {address}/{prefix_length(topology, address)} dev {interface}{nodad}"


def _outside(topology: LabTopology) -> list[str]:
    """No route but the uplink's: what arrives with a pod's own address gets no answer, as in real life."""
    outside = topology.outside
    near = [_add(topology, ip, "eth0") for ip in (*outside.on_uplink, *outside.gateways)]
    far = [f"address add {host_route(ip)} dev lo" for ip in (*outside.far4, *outside.far6)]
    commands = ["link set lo up", *near, *far, "link set eth0 up"]
    for number, segment in enumerate(topology.segments):
        for router in segment.routers:
            commands.append(f"address add {router} dev lab{number}{' nodad' if ':' in router else ''}")
        commands.append(f"link set lab{number} up")
    return commands


def _uplink(topology: LabTopology, node: LabNode) -> list[str]:
    commands = _attached(topology, node.interface, node.addresses)
    return commands + [f"route add {cidr} via {via}" for cidr, via in routes_to_others(topology, node)]


def routes_to_others(topology: LabTopology, node: LabNode) -> list[tuple[str, str]]:
    """A node's routes to the pods of all other nodes: CIDR and next hop."""
    found = []
    for other in topology.nodes:
        if other.name != node.name:
            found += _routes_to(other, [pod for pod in topology.pods if pod.node == other.name])
    return found


def _node(name: str, topology: LabTopology, node: LabNode) -> list[str]:
    """All but the uplink."""
    commands = ["link set lo up"]
    commands += [f"link set {s.interface} up" for s in topology.segments if node.name in s.nodes]
    return commands + [line for pod in topology.pods if pod.node == node.name for line in _to_pod(name, pod)]


def _to_pod(name: str, pod: LabPod) -> list[str]:
    """The node's side of a pod."""
    peer = f"name {POD_DEVICE} mtu {pod.mtu} netns {state.netns(name, pod.host)}"
    return [
        f"link add {pod.device} mtu {pod.mtu} address {_POD_GATEWAY_MAC} type veth peer {peer}",
        f"link set {pod.device} up",
        *(f"route add {host_route(ip)} dev {pod.device}" for ip in pod.addresses),
    ]


def _routes_to(node: LabNode, pods: Sequence[LabPod]) -> list[tuple[str, str]]:
    """What other nodes need to reach a node's pods: its pod CIDRs, and the pods that have an address elsewhere."""
    cidrs = [parse_network(cidr, "pod CIDR") for cidr in node.pod_cidrs]
    addresses = [parse_network(ip, "pod") for pod in pods for ip in pod.addresses]
    cidrs += [ip for ip in addresses if not any(overlap(ip, cidr) for cidr in cidrs)]
    gateways = _first_of_each_family(node.addresses)
    return [(str(cidr), via) for via in gateways for cidr in cidrs if (":" in str(cidr)) == (":" in via)]


def _first_of_each_family(addresses: Sequence[str]) -> list[str]:
    return list({":" in ip: ip for ip in reversed(addresses)}.values())


def _pod(pod: LabPod) -> list[str]:
    commands = [
        "link set lo up",
        *(f"address add {host_route(ip)} dev {POD_DEVICE}" for ip in pod.addresses),
        f"link set {POD_DEVICE} up",
    ]
    if any(":" not in ip for ip in pod.addresses):
        commands += [
            f"neighbour add {_POD_GATEWAY4} lladdr {_POD_GATEWAY_MAC} dev {POD_DEVICE} nud permanent",
            f"route add {_POD_GATEWAY4} dev {POD_DEVICE} scope link",
            f"route add default via {_POD_GATEWAY4} dev {POD_DEVICE}",
        ]
    if any(":" in ip for ip in pod.addresses):
        commands.append(f"route add default via {_POD_GATEWAY6} dev {POD_DEVICE}")
    return commands
