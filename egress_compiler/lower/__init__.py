"""Allocated policies to one NodePlan a node."""

from egress_compiler.lower.nodes import lower

__all__ = ["lower"]
