"""The product's table of contents: from files to a bundle, one function a stage.

Every stage takes frozen values and gives a new frozen value; only ``load`` reads and only ``bundle`` writes.  What is
decided (``analyse``) is apart from what nodes get of it (``compile_bundle``): most questions need a node or none.
All stages report to one collector, so that one run tells everything that is wrong.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple

from egress_compiler.allocate import Allocation, allocate
from egress_compiler.allocate.judge import check_lock
from egress_compiler.allocate.readiness import check_readiness
from egress_compiler.allocate.seed import check_kept, seeded
from egress_compiler.allocate.withdrawn import check_withdrawn
from egress_compiler.analyze import analyze, analyze_files, analyze_selections
from egress_compiler.asked import Asked, namespaces_asked
from egress_compiler.bundle import bundle_files
from egress_compiler.classify import Classified, classify
from egress_compiler.contract.plan import NodePlan
from egress_compiler.diagnostics import Collector, Diagnostic, in_order, refuse_open_warnings
from egress_compiler.document import Document
from egress_compiler.fleet import choose_hosts
from egress_compiler.load import load_cluster, load_documents, load_lock, load_settings, load_uplinks, lock_text
from egress_compiler.load.statuses import load_statuses
from egress_compiler.model.cluster import Node
from egress_compiler.model.lock import Lock
from egress_compiler.model.policy import Gateway, PolicySet
from egress_compiler.model.settings import Settings, Uplink
from egress_compiler.net import Address
from egress_compiler.nodes import Nodes
from egress_compiler.quarantine import good_states, hold_back
from egress_compiler.resolve import Resolved, resolve, resolve_files
from egress_compiler.validate import validate_policies

LOCK_NAME = "egress.lock.json"


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a run reads.  Without ``lock`` the lock file stands beside the policies, or here where they are a pipe.

    ``import_status`` are exports of a live cluster's statuses, whose EIPs are to be kept; ``rebalance`` allows moves;
    with ``warnings_as_errors`` a warning that nobody accepted makes the input invalid.  With ``quarantine``
    objects with errors keep their last good state; None: as the settings say.
    """

    policies: tuple[Path, ...]
    cluster: tuple[Path, ...]
    inventory: Path | None = None
    settings: Path | None = None
    lock: Path | None = None
    import_status: tuple[Path, ...] = ()
    warnings_as_errors: bool = False
    rebalance: bool = False
    quarantine: bool | None = None

    @property
    def lock_path(self) -> Path:
        if self.lock is not None:
            return self.lock
        first = self.policies[0]
        if first.is_relative_to("/dev") or first.is_relative_to("/proc") or first.is_fifo():
            return Path(LOCK_NAME)
        return (first if first.is_dir() else first.parent) / LOCK_NAME


@dataclass(frozen=True, slots=True)
class Analysis:
    """All that is decided.  ``nodes`` makes a node's plan and files when asked; ``diagnostics`` are warnings only.

    ``quarantined`` names the objects that are not in force as the input has them, or else the files that nobody can
    read; ``documents`` are those in force.
    """

    documents: tuple[Document, ...]
    settings: Settings
    uplinks: Mapping[str, Uplink]
    classified: Classified
    allocation: Allocation
    nodes: Nodes
    lock_path: Path
    diagnostics: tuple[Diagnostic, ...]
    quarantined: tuple[str, ...]

    @property
    def resolved(self) -> Resolved:
        return self.classified.resolved


@dataclass(frozen=True, slots=True)
class Compilation(Analysis):
    """All of it, for all nodes.  ``files`` is the bundle by relative path."""

    plans: tuple[NodePlan, ...]
    files: Mapping[str, str]
    lock_text: str


@contextmanager
def without_cycle_collection(*, for_good: bool = False) -> Iterator[None]:
    """For work on a large cluster, a third of whose time it would cost, and more the larger the cluster is.

    Python looks for cycles of references whenever there are many new objects, and here all of them stay: it would go
    through the cluster again and again.  None of ours is in a cycle; the few that libraries leave wait until the end,
    or with ``for_good``, for a process that ends then, are never looked for.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if for_good:
            gc.freeze()
        if enabled:
            gc.enable()


@without_cycle_collection()
def analyse(inputs: Inputs, lock: Lock | None = None, asked: Asked | None = None) -> Analysis:
    """What is decided; ``lock`` stands in for the lock file.  Raises InvalidInput with all diagnostics.

    ``asked`` is the one question that the result is for: policies have selected no pods but those that the answer
    depends on.  Errors are the same without a question.  Warnings about what policies of other namespaces select are
    left out, unless they count as errors: then nothing is.
    """
    if inputs.warnings_as_errors:
        asked = None
    found, read = Collector(), Collector()

    documents = load_documents(inputs.policies, read)
    cluster = load_cluster(inputs.cluster, found)
    settings = load_settings(inputs.settings, found)
    uplinks = load_uplinks(inputs.inventory, settings, found)
    lock = load_lock(inputs.lock_path, found) if lock is None else lock
    imported = load_statuses(inputs.import_status, found)

    def stages(documents: Sequence[Document], found: Collector) -> tuple[Classified, Allocation]:
        policies = validate_policies(documents, found)
        found.raise_if_missing("cluster", "settings", "cluster-info")
        hosts = choose_hosts(cluster, policies.gateways, settings, lock, found)
        resolved = resolve(policies, hosts, settings, found, asked)
        classified = classify(resolved)
        analyze(resolved, settings, uplinks, lock, found)
        analyze_selections(classified, found, namespaces_asked(asked, cluster) if asked is not None else None)
        found.raise_if_failed()

        allocation = allocate(resolved, seeded(lock, imported, resolved), settings, found, rebalance=inputs.rebalance)
        found.raise_if_failed()
        check_kept(imported, resolved, allocation, found)
        check_readiness(resolved, allocation, found)
        check_withdrawn(lock, imported.policies, resolved, allocation, found)
        check_lock(lock, resolved, allocation, settings, found)
        found.raise_if_failed()
        return classified, allocation

    quarantined: tuple[str, ...] = ()
    holding = settings.quarantine if inputs.quarantine is None else inputs.quarantine
    if holding and not found.failed:
        (classified, allocation), documents, quarantined, found = hold_back(documents, read, lock, found, stages)
    else:
        found.take(read)
        classified, allocation = stages(documents, found)
    if holding or (lock.good and settings.quarantine is None):
        allocation = replace(allocation, lock=replace(allocation.lock, good=good_states(documents)))

    if asked is None:
        found.warn_of_unused()
    if inputs.warnings_as_errors:
        refuse_open_warnings(found.found)

    nodes = Nodes(classified, allocation, settings, uplinks)
    told = in_order(found.found)
    return Analysis(
        documents, settings, uplinks, classified, allocation, nodes, inputs.lock_path, told, tuple(quarantined)
    )


@without_cycle_collection()
def compile_bundle(inputs: Inputs, lock: Lock | None = None) -> Compilation:
    """The whole pipeline in memory; arguments and errors are those of ``analyse``."""
    analysis = analyse(inputs, lock)
    decided = {field.name: getattr(analysis, field.name) for field in fields(Analysis)}
    nodes = analysis.nodes
    plans = tuple(nodes.plan(node) for node in nodes.names)
    files = bundle_files(nodes, analysis.resolved, analysis.allocation, analysis.settings, analysis.documents)
    return Compilation(**decided, plans=plans, files=files, lock_text=lock_text(analysis.allocation.lock))


def check_files(policies: tuple[Path, ...], found: Collector) -> PolicySet:
    """The objects in policy files; ``found`` gets all that compile would say of them and that needs no cluster."""
    policy_set = validate_policies(load_documents(policies, found), found)
    found.raise_if_missing("cluster-info")
    analyze_files(classify(resolve_files(policy_set, found)), found)
    return policy_set


class Host(NamedTuple):
    """A node, the address that others reach it by, and the EgressGateways that select it, sorted."""

    node: Node
    address: Address
    gateways: tuple[str, ...]


def inventory_hosts(inputs: Inputs) -> tuple[Host, ...]:
    """Every node that gets a configuration, sorted by name: what an inventory has to know before a compile.

    Raises InvalidInput with all diagnostics.
    """
    found, read = Collector(), Collector()
    documents = load_documents(inputs.policies, read)
    cluster = load_cluster(inputs.cluster, found)
    settings = load_settings(inputs.settings, found)
    lock = load_lock(inputs.lock_path, found)

    def stages(documents: Sequence[Document], found: Collector) -> tuple[Gateway, ...]:
        gateways = validate_policies(documents, found).gateways
        found.raise_if_failed()
        return gateways

    if settings.quarantine and not found.failed:
        gateways, *_, found = hold_back(documents, read, lock, found, stages)
    else:
        found.take(read)
        gateways = stages(documents, found)
    cluster = choose_hosts(cluster, gateways, settings, lock, found)
    found.raise_if_failed()
    return tuple(
        Host(
            node,
            Address(cluster.underlay, node.address(cluster.underlay) or 0),
            tuple(g.name for g in gateways if g.node_selector.matches(node.labels)),
        )
        for node in cluster.nodes
    )
