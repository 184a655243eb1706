"""Addresses and numbers for what was resolved, moving nothing that need not move."""

from egress_compiler.allocate.allocation import Allocation, Placement, allocate
from egress_compiler.allocate.gone import GoneAnswer
from egress_compiler.allocate.slots import Slot

__all__ = ["Allocation", "GoneAnswer", "Placement", "Slot", "allocate"]
