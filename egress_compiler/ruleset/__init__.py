"""A node's nftables table: from the plan to data, and from the data to text."""

from egress_compiler.ruleset.table import ruleset
from egress_compiler.ruleset.writer import Written, write

__all__ = ["Written", "ruleset", "write"]
