"""Addresses and numbers for what was resolved, moving nothing that need not move."""

from egress_compiler.allocate.allocation import Allocation, Placement, Slot, allocate

__all__ = ["Allocation", "Placement", "Slot", "allocate"]
