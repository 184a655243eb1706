"""Every diagnostic code: what it says about the input, and why that matters.

``docs/diagnostics.md`` is made from this and from the cases in ``tests/errors``; a test holds that each code has one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from egress_compiler.diagnostics.values import Severity


class Code(NamedTuple):
    """``severities`` has more than one entry where it depends on the circumstances."""

    name: str
    severities: tuple[Severity, ...]
    title: str
    explanation: str

    @property
    def severity(self) -> Severity:
        return self.severities[0]


_CATALOGUE = """
# Files
no-files (error): A directory without policy files
    A directory is searched for .yaml, .yml and .json; hidden files, kustomization.yaml and the lock file do not
    count.
unreadable (error): A path that cannot be read
    It does not exist, must not be read, or is a device or a loop of links. A pipe is read where it was named (- is
    standard input), and refused where it lies in a directory.
too-large (error): A file beyond what is read
    Policy files may have 16 MiB and half a million values as YAML and 512 MiB as JSON, cluster files 64 MiB and 2 GiB.
not-utf8 (error): A file in another encoding
    Files are UTF-8; a byte order mark at the start does no harm.
empty-file (warning): A policy file without an object
    Only comments, or nothing: perhaps the wrong file, or one whose content was lost.
foreign-kind (warning): Objects of other API groups
    They may stand beside policies, and are left out; one warning a file.

# YAML and JSON
yaml-syntax (error): Text that is not YAML
    The position is where the parser gave up; the mistake is there or on the line before.
merge-conflict (error): The marks that git leaves in a file
    Two branches changed the same lines, and nobody has chosen yet.
yaml-character (error): A character that must not stand in YAML
    Control characters, line separators that editors do not count as line ends, byte order marks inside a file.
yaml-depth (error): Nested too deeply
    More than 64 levels.
yaml-alias (error): An alias without an anchor, or too many values by aliases
    The aliases of one document may add up to 1,000 values.
yaml-tag (error): A YAML tag
    Tags such as !!str or !include have no meaning here.
yaml-key (error): A key that is not plain text
    A list or mapping as a key, a word that YAML reads as true, false or null, or a space that is none.
yaml-merge (error): A merge key
    << is no part of YAML 1.2, and Kubernetes tools disagree about it.
yaml-number (error): A number that YAML versions read differently
    Octal, hexadecimal, binary, underscores: 010 is 8 to one program and 10 to another.
duplicate-key (error): The same key twice in one mapping
    Most programs silently take the last one.
json-syntax (error): A cluster file that is not JSON
    It starts like JSON and is not; most often an export that was cut off.

# Shape of objects
not-an-object (error): Something that is no Kubernetes object
    A document must be a mapping with apiVersion, kind, metadata and spec.
unknown-kind (error): A kind that the language does not have
    The kinds are EgressGateway, EgressPolicy, EgressClusterPolicy and EgressClusterInfo.
missing-field (error): A required field is absent
    The position is that of the mapping which lacks it, or of the key with nothing behind it.
unknown-field (error): A field that does not exist there
    An API server would drop it silently, and the policy would mean something else.
wrong-type (error): A value of another type
    Strings that look like numbers or booleans have to stand in quotes.
wrong-value (error): A value that is none of the possible ones
    The message lists them.
out-of-range (error): A number beyond its bounds
    The message names them.
connections (error): An annotation about open connections that says neither keep nor cut
    With cut, a change of the policy ends the open connections that would leave otherwise if they began now.
fallback (error): An annotation about a gateway without a node that answers, which says neither block nor nodeIP
    With nodeIP, what an EgressGateway's policies govern leaves with the address of the pod's node meanwhile.
bad-name (error): A name or label that Kubernetes does not take
    Names are DNS-1123; they become file names, comments and configuration, so nothing else may get that far.
duplicate-object (error): Two objects of one kind and name
    In whichever files they stand; an EgressPolicy without a namespace is in 'default'.
no-namespace (warning): An EgressPolicy that names no namespace
    It is read as one of 'default'; kubectl would take the namespace of whoever applies it.
cluster-scoped (error): A namespace on an object of the whole cluster
    EgressGateway, EgressClusterPolicy and EgressClusterInfo have none.
cluster-info-name (error): An EgressClusterInfo with another name
    There is one, named default.

# Addresses and selectors
bad-address (error or warning): Text that is no address, range or CIDR
    Addresses stand in their usual spelling: no leading zeros, no IPv4-mapped IPv6, ranges with two whole
    addresses in ascending order. Of a Service, or of a pod that no policy selects, it is left out with a warning;
    a CIDR of a Node, an IPPool or a ServiceCIDR, too.
wrong-family (error): IPv4 where IPv6 is wanted, or the reverse
    Such as an IPv6 address under ippools.ipv4.
host-bits (warning): A CIDR with host bits set
    10.6.1.70/28 is read as 10.6.1.64/28.
selector-values (error): Values that do not go with the operator
    In and NotIn need values, Exists and DoesNotExist take none.
empty-selector (error): A gateway's node selector without requirements
    It would make every node a gateway.
two-sources (error): podSelector and podSubnet in one policy
    A policy has exactly one of them.
no-source (error): A policy that names no pods
    podSelector needs matchLabels or matchExpressions, podSubnet a CIDR.
node-ip-and-eip (error): useNodeIP together with an address
    The one excludes the other.

# Gateways and their pools
eip-impossible (error): An address that nothing can leave with
    Loopback, link-local, multicast, unspecified.
pool-pairing (error): Dual-stack pools of different sizes
    The n-th IPv4 address pairs with the n-th IPv6 address, so both have the same number.
not-a-pair (error): Two addresses that do not belong together
    In dual stack an EIP is a pair: the n-th of one pool and the n-th of the other. The default EIPs may be any two.
not-in-pool (error): An EIP that the gateway does not have
    Default EIPs and the addresses of policies lie in the pool of the gateway.
eip-withdrawn (error): An EIP in use that leaves its pool
    A policy would silently leave with another address. The annotation egressgateway.spidernet.io/released-eips of the
    gateway gives the address up; its policies then get another.
released-in-pool (warning): An address that is given up and still in the pool
    It counts as part of the pool.
empty-pool (error): A policy that needs an EIP of a gateway without any
    Such a gateway is for policies with useNodeIP.
pool-overlap (error): An address in the pools of two gateways
    Two gateways would answer for it.
two-cluster-defaults (error): Two gateways that are the cluster's default
    At most one has clusterDefault: true.
no-gateway (error): A policy for which no gateway can be found
    It names none, its namespace has no default, and neither has the cluster.
unknown-gateway (error): A gateway that does not exist
    Named by a policy, or by the label of its namespace.
no-gateway-node (warning): A gateway that selects no node
    The traffic of its policies is blocked, never let out another way.
foreign-gateway-node (warning): A gateway that selects a node which is no host
    Windows, virtual-kubelet and Fargate nodes, and those that are unmanaged, get no configuration and have no EIP.
gateway-not-ready (warning): A gateway with a node that is not ready
    The Node's condition says so; the message names the policies that prefer such a node. New policies go to nodes that
    are ready; what is placed stays, and VRRP moves EIPs where a node is dead.
pool-too-small (warning): More policies with allocatorPolicy rr than EIPs
    Some of them share an EIP, and partners cannot tell them apart.
family-blocked (warning): Traffic of an address family that the gateway cannot carry
    Pods have IPv6 addresses and the gateway has no IPv6 EIP, or the reverse: that traffic is blocked, never let
    out another way.

# Egress and tunnel addresses against the cluster's
eip-in-use (error): An EIP that is somebody's address
    Of a node, a pod, a Service or an API server.
own-address-reported (warning): A node that reports an address which we put there
    The EIP of a gateway node, or the tunnel's. A kubelet without --node-ip, and some cloud providers, report every
    address of a node's devices. Such an address counts as the node's for nothing.
eip-in-tunnel (error): An EIP in the tunnel subnet
    The tunnel's addresses are the compiler's own.
eip-off-subnet (error): An EIP in no subnet of the gateway's nodes
    Checked where the subnets are known: egress_uplink_cidrs in the inventory, uplinkCIDRs in the settings.
eip-off-uplink (error): An EIP of a further uplink that not all nodes of the gateway have
    Each of them may be the one that is active, and must have the EIP where its subnet is.
uplinks (error): Further uplinks that do not fit
    A device twice, subnets that overlap, a next hop in none of them; they are egress_uplinks in the inventory and
    uplinks in the settings.
uplink-no-route (error): EIPs on a device that is not the way to the outside
    The node's default route is by another device, as on nodes with a management network, and no next hop is known in
    the subnet of the EIPs. The playbook facts finds one where the node has a route by that device.
eip-off-some-subnets (warning): An EIP in no subnet of some of the gateway's nodes
    When such a node becomes active, nobody on its segment asks it for the EIP, and what uses the EIP is cut off.
eip-in-cluster (warning): An EIP in a pod or Service CIDR
    Nobody has it today; the cluster may give it to a pod tomorrow.
tunnel-subnet (error): A tunnel subnet that is no CIDR of its family, or too small
    It holds an address for every node and every slot.
tunnel-mtu (warning or error): A tunnel MTU that the uplink cannot carry, or that IPv6 cannot live with
    VXLAN adds 50 bytes over IPv4 and 70 over IPv6; what is too long then is cut in pieces or lost on the way. A
    device with less than 1280 bytes has no IPv6 at all, which is the error.
tunnel-overlap (error): A tunnel subnet that overlaps pods, Services or nodes
    Their traffic would go into the tunnel.
exhausted (error): No number is left
    Of VRRP IDs, slot numbers (marks and routing tables), answer numbers, or addresses in the tunnel subnet. VRRP IDs
    count among slots that have nodes in common; those with the same nodes in the same order share one at last.
number-reused (warning): An answer number goes from one policy to another
    Numbers that are free again are handed out last. So many policies come, go or change their EIP at once that there
    are no others. A node whose bundle is not up to date sends one policy's traffic under another's number by now.

# What policies do
shadowed (warning): A policy that never applies
    For all its sources and destinations others go first.
equal-priority (warning): Two policies that overlap with equal priority
    The order of their names decides: namespaced before cluster policies, then by namespace and name.
selects-nothing (warning): A policy that selects no pod
    Perhaps the pods come later; perhaps a label is mistyped.
unknown-namespace (warning or error): A namespace that is not in the cluster
    A policy there selects nothing until the namespace exists; a command that asks for it gets an error.
host-network-pod (warning): A policy that selects pods with hostNetwork
    They have their node's address; no policy applies to them.
destination-inside (warning): A destination wholly inside the cluster
    What is inside is never sent through a gateway.

# The cluster files
no-nodes (error): A cluster without nodes
    The files hold no Node: perhaps the wrong ones.
bad-cluster-object (error or warning): An object of the cluster with a value of the wrong type
    No API server writes it; the file was changed or made by something else. A warning for what only adds to the
    picture, such as ConfigMaps and endpoints.
node-address (warning or error): A node without an address that its tunnel can run over
    That is an InternalIP of the family of all tunnels which is not link-local, loopback or the like, and no other
    node's. A node without one gets no configuration yet, which is an error where a gateway cannot do without it.
address-twice (error or warning): One address of two nodes or pods
    The parts of the snapshot are of different moments. Of pods it matters where a policy selects one of them, and with
    membership: followed it is a warning. A pod that may be gone (it is being deleted, its phase is Unknown, or its node
    is not in the files) gives way to the others; of several such the first by name keeps the address. An address that
    several nodes report beside others, such as that of a bridge which all of them have, is nobody's tunnel end, and a
    warning at most.
pod-on-other-node (warning): Selected pods on nodes without a configuration
    Windows, virtual-kubelet and Fargate nodes, unmanaged ones, and hosts without an address. Their pods leave as if
    there were no policy.
pod-on-unknown-node (warning): Selected pods on nodes that the files do not have
    Nothing steers their traffic: it leaves as if there were no policy.
podsubnet-hosts (warning): A podSubnet that covers addresses of hosts
    Nodes' addresses, egress IPs and tunnel addresses are taken out: what a node sends itself, its pods with hostNetwork
    included, is never governed. So are the addresses that a node has and the files do not show.
namespaces-unknown (error): A namespaceSelector, and no Namespace in the files
    Which namespaces have the labels cannot be told.
service-cidr-unknown (error): The Service CIDRs cannot be told
    They come from ServiceCIDR objects, else kubeadm-config, else the flags of kube-apiserver or kube-controller-
    manager, else the settings.
pod-cidr-unknown (error): The pod CIDRs cannot be told
    They come from the nodes' podCIDRs or Calico's IPPools, else from what the control plane was started with,
    else the settings.
pod-outside (warning): Pods with addresses in no known range
    Where ranges are detected, the addresses of the pods that are seen count as inside by themselves, as nodes' do;
    those of new pods do not until the next run. Where detection is off, or with membership: followed, governed pods
    reach them through a gateway.
pod-refused (warning): Governed pods in no known pod CIDR, where nodes follow their pods
    With membership: followed no pod is in any gateway's configuration. A gateway takes packets from the known pod CIDRs
    and podSubnets, and refuses all others.
service-outside (warning): Services with addresses in no known range
    The same for Services.
node-outside (warning): Nodes or API servers with addresses that do not count as inside
    Detection of nodes is switched off: traffic from governed pods to them goes through a gateway.

# Settings, inventory, lock file
two-documents (error): Several documents where there is one
    In a settings or lock file.
pod-start (error): A gate at pod start that cannot be, or that nobody asked for
    It waits for what the node itself finds out of a pod, which membership: followed makes it do; its own settings are
    for podStart: gate.
settings-node (warning): A node in the settings that is not in the cluster files
    Under unmanagedNodes or nodeAddresses. Perhaps it is gone; perhaps its name is mistyped.
blocked-node (error or warning): A node whose unknown pods cannot be blocked
    It is not in the cluster files, or has no podCIDR; or it gets no configuration.
sync-group (error): A group address that is none
    Gateways tell each other of open connections by multicast, where more than two share their slots.
foreign-mark (error): A foreign mark that ip rules cannot match as it is meant
    The kernel compares the bits of the mask, and bits of the mark beyond them never count.
inventory (error): An inventory that cannot be used
    Ansible cannot read it, it has no host, or a variable has an impossible value.
empty-lock (error): A lock file with nothing in it
    Allocating afresh could change every EIP; deleting the file says that this is meant.
lock-entry (warning): An entry of the lock file that cannot be used
    It was edited, or comes out of a merge. What it says is given anew: an EIP, a number, a node.
pin-waits (warning): An EIP away from the node that it is pinned to
    That is no gateway node at the moment. The pin waits in the lock file, and holds again when the node is back.

# Migration
no-status (error): An export without any status
    Nothing could be taken over from it.
two-statuses (error): Two statuses of one object that differ
    In one export or in two: nobody can tell which of them holds. Equal ones are fine.
bad-status (error): A status of another shape
    The in-cluster controller does not write it.
imported-eip (error or warning): A policy that would not keep its EIP
    An error where nobody asked for a change, a warning where the policy itself does.
imported-node (warning): A policy that would leave by another node
    The gateway does not select the node that it left by.
imported-stranger (warning): Imported policies that are not in the input
    Their EIPs are free for others.

# Accepting warnings
accept-unknown (warning): An acceptance of something that is no warning
    The code is mistyped, or an error.
accept-no-reason (warning): An acceptance without a reason
    It does not count: the reason is for whoever reads the file next.
accept-unused (warning): An acceptance of a warning that is not there
    It would hide the next one that nobody has looked at.

# What a command was asked for
unwritable (error): A file that cannot be written
    The operating system's reason is in the message. Bundle and lock file are as they were, both of them. Standard
    output that takes no more is told the same way.
interrupted-write (warning): A run was cut off while it wrote
    By a loss of power or a kill, between the first and the last of its files. compile takes back what that run did, so
    that bundle and lock file belong together again, and goes on; a command that only reads tells of it.
quarantined (warning): An object that is held back
    With --quarantine, or quarantine: true in the settings, an object with errors does not stop the others: what it was
    when it was last good stays in force. What is wrong with it stands beside this, as a warning; the exit status is 2.
    So it is where a file cannot be read and no object is held back for it: new ones may stand in it.
no-good-state (error): An object that cannot be held back
    It has errors, it is in force, and the lock file does not remember its last good state: no earlier run was one with
    --quarantine.
no-bundle (error): A directory to compare with that holds no bundle
    Where there is none yet, --new says so.
bundle-unreadable (error): A bundle that cannot be compared with
    It was not written by this compiler, or was changed, or a part of it is missing.
unknown-pod (error): A pod that is not in the cluster files
    Name it as NAMESPACE/NAME, or by its address.
unknown-eip (error): An EIP that nobody leaves with
    It is in no pool, or no policy uses it.
unknown-node (error): A node that is not in the cluster, or no gateway of the EIP
    The message names those that are.
no-such-family (error): A pod without an address of the destination's family
    It cannot send there at all.
no-cluster (error): No cluster to take a snapshot of
    There is no usable kubeconfig, or no such context in it.
cluster-credentials (error): Credentials that cannot be had, or that the cluster refuses
    The kubeconfig's exec plugin failed, or the API server does not know who asks; nothing else was tried.
cluster-forbidden (error or warning): The cluster does not let you read what the snapshot needs
    The message names the rule that is missing; a warning where the settings can say the same.
cluster-error (error): The cluster did not answer as it should
    It cannot be reached, stays busy, ends its answers early, has not answered in time, or failed.
"""

_HEAD = re.compile(r"(?P<name>[a-z0-9-]+) \((?P<severities>[a-z ]+)\): (?P<title>.+)")


def _parsed(catalogue: str) -> dict[str, tuple[Code, ...]]:
    """The sections by their headings; an entry is its head and the indented lines below it."""
    sections: dict[str, tuple[Code, ...]] = {}
    for section in catalogue.strip().split("\n\n"):
        heading, _, entries = section.partition("\n")
        codes: list[Code] = []
        for entry in re.split(r"\n(?! )", entries):
            head, _, explanation = entry.partition("\n")
            parts = _HEAD.fullmatch(head)
            assert parts is not None, head
            severities = tuple(Severity(name) for name in parts["severities"].split(" or "))
            codes.append(Code(parts["name"], severities, parts["title"], " ".join(explanation.split())))
        sections[heading.removeprefix("# ")] = tuple(codes)
    return sections


SECTIONS: Mapping[str, tuple[Code, ...]] = _parsed(_CATALOGUE)
"""By subject, in the order of the manual."""

CODES: Mapping[str, Code] = {code.name: code for section in SECTIONS.values() for code in section}
