"""An example directory compiled for a lab: the topology it needs, and what each pod should be seen with."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from egress_compiler import bundle
from egress_compiler.decide import Decision, decide
from egress_compiler.lab.errors import LabError
from egress_compiler.lab.lab import Lab, open_lab, up
from egress_compiler.lab.probe import ProbeResult, ProbeTarget
from egress_compiler.lab.topology import LabSegment, LabTopology, build_topology
from egress_compiler.net import contains, format_interval, intersect, parse_address, parse_span, union
from egress_compiler.pipeline import Compilation, Inputs, compile_bundle

REMEMBERED = "example.json"
BUNDLE = "bundle"
PROTOCOLS = ("tcp", "udp")


def example_inputs(directory: Path) -> Inputs:
    """The files of an example: policies/, cluster.json, and where they exist settings.yaml and inventory.yml."""
    if not (directory / "policies").is_dir() or not (directory / "cluster.json").is_file():
        raise LabError(f"{directory} is no example: it needs policies/ and cluster.json")
    settings, inventory = directory / "settings.yaml", directory / "inventory.yml"
    return Inputs(
        policies=(directory / "policies",),
        cluster=(directory / "cluster.json",),
        inventory=inventory if inventory.is_file() else None,
        settings=settings if settings.is_file() else None,
        lock=directory / "egress.lock.json",
    )


def topology_for(inputs: Inputs, compilation: Compilation) -> LabTopology:
    """The lab's hosts for a compiled example, with its interface names, its MTU, room for its EIPs, further uplinks."""
    segments = _segments(compilation)
    elsewhere = [parse_span(router).interval for segment in segments for router in segment.routers]
    pools = [
        format_interval(family, interval)
        for gateway in compilation.resolved.gateways.values()
        for family, intervals in gateway.gateway.pool.items()
        for interval in intervals
        if not intersect((interval,), union(elsewhere))
    ]
    return build_topology(
        inputs.cluster,
        interfaces={plan.node: plan.kernel.interface for plan in compilation.plans},
        mtus={node: uplink.mtu for node, uplink in compilation.uplinks.items()},
        extra_addresses=pools,
        segments=segments,
    )


def _segments(compilation: Compilation) -> tuple[LabSegment, ...]:
    """A network for each device that is a further uplink of some node, with the next hops that nodes have there."""
    nodes: dict[str, list[str]] = {}
    routers: dict[str, set[str]] = {}
    for plan in compilation.plans:
        tables = plan.gateway.uplinks if plan.gateway is not None else ()
        for uplink in (uplink for uplink in tables if uplink.interface != plan.kernel.interface):
            nodes.setdefault(uplink.interface, []).append(plan.node)
            hops = [hop for hop in (uplink.next_hops.ipv4, uplink.next_hops.ipv6) if hop is not None]
            for cidr in (*uplink.cidrs.ipv4, *uplink.cidrs.ipv6):
                interval, length = parse_span(cidr).interval, cidr.partition("/")[2]
                inside = (hop for hop in hops if contains((interval,), parse_address(hop).value) and _same(hop, cidr))
                routers.setdefault(uplink.interface, set()).update(f"{hop}/{length}" for hop in inside)
    return tuple(LabSegment(d, tuple(sorted(nodes[d])), tuple(sorted(routers.get(d, ())))) for d in sorted(nodes))


def _same(address: str, cidr: str) -> bool:
    return (":" in address) == (":" in cidr)


def up_example(directory: Path, name: str) -> Lab:
    """Brings up the lab of an example and remembers which it was."""
    inputs = example_inputs(directory)
    compilation = compile_bundle(inputs)
    gateways = [plan.node for plan in compilation.plans if plan.role == "gateway"]
    lab = up(topology_for(inputs, compilation), name=name, gateways=gateways)
    (lab.state_dir / REMEMBERED).write_text(json.dumps({"directory": str(directory.resolve())}), encoding="utf-8")
    return lab


@dataclass(frozen=True, slots=True)
class Row:
    """One probe beside what it should have seen; ``sources`` empty with ``direct``: the node's own address."""

    pod: str
    target: ProbeTarget
    result: ProbeResult
    decision: Decision
    expected: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Blocked means no answer; everything else must be seen with an expected address."""
        if self.decision.outcome == "blocked":
            return self.result.seen is None
        return self.result.seen in self.expected


@dataclass(frozen=True, slots=True)
class RunningExample:
    """A lab together with the example that it was brought up for, compiled as its files are now."""

    lab: Lab
    directory: Path
    compilation: Compilation

    @property
    def bundle(self) -> Path:
        return self.lab.state_dir / BUNDLE

    def write_bundle(self) -> None:
        """Into the lab's own directory; the example's files stay as they are, its lock file too."""
        bundle.write_files(self.compilation, self.bundle)

    def targets(self, protocols: Sequence[str] = PROTOCOLS) -> list[ProbeTarget]:
        """Every outside server under every protocol."""
        return [ProbeTarget(p, address) for address in self.lab.topology.outside.servers for p in protocols]  # type: ignore[arg-type]  # literals

    def probe(self, *, applied: bool, protocols: Sequence[str] = PROTOCOLS) -> list[Row]:
        """What the outside sees of each pod; before the policies are ``applied``, the node's address is expected."""
        wanted = {
            pod.host: [t for t in self.targets(protocols) if _family(t.address) in {_family(a) for a in pod.addresses}]
            for pod in self.lab.topology.pods
        }
        results = self.lab.probe_many(wanted)
        return [self._row(pod, result, applied) for pod, found in results.items() for result in found]

    def pick_flow(self, node: str | None) -> tuple[str, ProbeTarget, str]:
        """A pod with an EIP on a gateway (``node`` where given) and not on that node itself; a target; the gateway."""
        for row in self.probe(applied=True, protocols=("udp",)):
            if row.decision.outcome == "eip" and row.decision.slot is not None:
                preferred = self.compilation.allocation.slots[row.decision.slot].node
                if node in (None, preferred) and self.lab.topology.pod(row.pod).node != preferred:
                    return row.pod, row.target, preferred
        raise LabError(f"no pod of the example leaves by {node or 'a gateway'} with an EIP")

    def decide(self, pod: str, address: str) -> Decision:
        """What becomes of a pod's new connection to an outside address of a family that the pod has."""
        destination = parse_address(address)
        own = map(parse_address, self.lab.topology.pod(pod).addresses)
        source = next(a for a in own if a.family == destination.family)
        return decide(self.compilation.classified, self.compilation.allocation, source, destination)

    def _row(self, pod: str, result: ProbeResult, applied: bool) -> Row:
        decision = self.decide(pod, result.target.address)
        if not applied or decision.outcome == "direct":
            family = _family(result.target.address)
            node = self.lab.topology.node(self.lab.topology.pod(pod).node)
            own = tuple(a for a in node.addresses if _family(a) == family)
            decision = Decision("direct", None, None, ())
            return Row(pod, result.target, result, decision, own)
        return Row(pod, result.target, result, decision, decision.sources)


def _family(address: str) -> str:
    return "6" if ":" in address else "4"


def running_example(name: str) -> RunningExample:
    """The lab of that name with its example; LabError when it is not up, or was not brought up for an example."""
    lab = open_lab(name)
    remembered = lab.state_dir / REMEMBERED
    if not remembered.is_file():
        raise LabError(f"the lab {name!r} was not brought up for an example")
    directory = Path(json.loads(remembered.read_text(encoding="utf-8"))["directory"])
    return RunningExample(lab, directory, compile_bundle(example_inputs(directory)))
