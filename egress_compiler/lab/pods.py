"""Pods that come and go while a lab runs: a namespace, a veth and routes, as a CNI plugin makes them."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from egress_compiler.lab import build, processes, state
from egress_compiler.lab.addressing import overlap, parse_network
from egress_compiler.lab.errors import LabError
from egress_compiler.lab.topology import LabNode, LabPod, LabTopology, one_address, usable_name


def add(name: str, namespace: str, pod: str, node: str, addresses: Sequence[str]) -> LabTopology:
    """Makes a pod with these addresses, which lie in its node's pod CIDRs, where all other nodes reach it already.

    LabError when its name or an address is taken or does not fit, and when the node is powered off.
    """
    with state.machine_lock() as lock:
        topology = state.load(name)
        made = _made(topology, namespace, pod, topology.node(node), addresses)
        try:
            build.add_pod(name, made, lock)
        except BaseException:
            build.remove_pod(name, made)
            raise
        topology = replace(topology, pods=(*topology.pods, made))
        state.save(name, topology)
    return topology


def remove(name: str, host: str) -> LabTopology:
    """Kills what runs in a pod and takes it away with its network. LabError when there is no such pod."""
    state.load(name).pod(host)
    processes.kill_all([state.netns(name, host)])
    with state.machine_lock():
        topology = state.load(name)
        gone = topology.pod(host)
        topology = replace(topology, pods=tuple(pod for pod in topology.pods if pod != gone))
        state.save(name, topology)
        build.remove_pod(name, gone)
    return topology


def _made(topology: LabTopology, namespace: str, name: str, node: LabNode, addresses: Sequence[str]) -> LabPod:
    host = f"{namespace}/{name}"
    if not usable_name(namespace) or not usable_name(name):
        raise LabError(f"pod {host!r}: the lab cannot use this name")
    if not addresses:
        raise LabError(f"pod {host}: it has no address")
    if host in topology.hosts:
        raise LabError(f"pod {host}: the lab has one of this name")
    texts = tuple(dict.fromkeys(one_address(text, f"pod {host}") for text in addresses))
    for address in texts:
        _check_address(topology, node, host, address)
    devices = {pod.device for pod in topology.pods if pod.node == node.name}
    device = next(device for device in (f"lab{number}" for number in count()) if device not in devices)
    return LabPod(namespace, name, node.name, texts, device, node.mtu)


def _check_address(topology: LabTopology, node: LabNode, host: str, address: str) -> None:
    holder = next((pod.host for pod in topology.pods if address in pod.addresses), None)
    if holder is not None:
        raise LabError(f"{holder} and pod {host} have the same address {address}")
    network = parse_network(address, f"pod {host}")
    if not any(overlap(network, parse_network(cidr, f"node {node.name}")) for cidr in node.pod_cidrs):
        raise LabError(f"pod {host}: {address} is in no pod CIDR of node {node.name}")
