"""Allocated policies to one NodePlan a node."""

from egress_compiler.lower.nodes import Lowering

__all__ = ["Lowering"]
