"""Allocated policies to one NodePlan a node."""

from egress_compiler.lower.members import InSnapshot
from egress_compiler.lower.nodes import LoweredPolicy, Lowering

__all__ = ["InSnapshot", "LoweredPolicy", "Lowering"]
