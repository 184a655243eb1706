"""Allocated policies to one NodePlan a node."""

from egress_compiler.lower.nodes import LoweredPolicy, Lowering

__all__ = ["LoweredPolicy", "Lowering"]
