"""Which Node objects are hosts that get a configuration, and by which of their addresses the tunnels run."""

from egress_compiler.fleet.choose import choose_hosts

__all__ = ["choose_hosts"]
