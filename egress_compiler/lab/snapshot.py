"""The state of a node that egress configuration could touch: taken twice, to prove that nothing is left behind."""

import difflib
from dataclasses import dataclass

OURS = ("/etc/egress-gateway", "/run/egress-gateway", "/var/lib/egress-gateway")
"""Directories that are there while a node is configured, and else not."""
DIRECTORIES = (
    *OURS,
    "/etc/systemd/system",
    "/etc/cni",
    "/etc/conntrackd",
    "/etc/keepalived",
    "/etc/modules-load.d",
    "/etc/sysctl.d",
    "/opt/cni",
    "/var/lib/cni",
)
_MARK = "@@@ "
_VOLATILE = "nf_conntrack_count|nf_conntrack_max|nf_conntrack_buckets|nf_conntrack_expect_max|tcp_fastopen_key"
"""Sysctls that change by themselves, or belong to the machine and not to the node."""
_OF_SESSION = "sshd|sshd-session|sshd-auth|sh|bash"
"""Processes of the node itself, of a login, and the one that takes the snapshot."""

SCRIPT = f"""
set -e
section() {{ echo "{_MARK}$1"; }}
section ruleset; nft -s list ruleset
section links; ip -d link show
section addresses; ip address show
section rules; ip rule show
section rules6; ip -6 rule show
section routes; ip route show table all
section routes6; ip -6 route show table all
section fdb; bridge fdb show
section neighbours; ip neigh show nud permanent; ip neigh show proxy
section sysctls
grep -r -s '' /proc/sys/net/ipv4 /proc/sys/net/ipv6 /proc/sys/net/netfilter | grep -E -v '/({_VOLATILE}):' | sort
section files
for directory in {" ".join(DIRECTORIES)}; do
  [ -d $directory ] || continue
  find $directory -printf '%p %y %M %u:%g -> %l\\n' | sort
  find $directory -type f -exec sha256sum {{}} + | sort -k 2
done
section processes
running=$(for process in /proc/[0-9]*; do
  command= name=
  read -r command < $process/cmdline || true
  read -r name < $process/comm || true
  [ -z "$command" ] || echo "$name"
done 2> /dev/null)
echo "$running" | grep -E -v -x '{_OF_SESSION}' | sort
section end
"""
"""Run by sh in the node; fails where a command fails, for an empty answer would prove nothing.

A process without a command line is dead and waits for its parent to notice.
"""


@dataclass(frozen=True, slots=True)
class NodeState:
    """What was found, as text by subject: ruleset, links, routes, sysctls, files and so on."""

    node: str
    sections: dict[str, str]

    def diff(self, other: "NodeState") -> str:
        """A unified diff of each subject that differs, from this state to the other; empty when none does."""
        parts: list[str] = []
        for subject in sorted(self.sections.keys() | other.sections.keys()):
            before, after = (state.sections.get(subject, "").splitlines() for state in (self, other))
            name = f"{self.node}: {subject}"
            parts += difflib.unified_diff(before, after, f"{name} before", f"{name} after", n=1, lineterm="")
        return "\n".join(parts)


def parse(node: str, output: str) -> NodeState:
    """The state from what SCRIPT wrote."""
    sections: dict[str, str] = {}
    for part in output.split(_MARK)[1:]:
        subject, _, text = part.partition("\n")
        sections[subject] = text
    sections.pop("end", None)
    return NodeState(node, sections)
