"""Documents to typed policies, or diagnostics: JSON Schema for the shape, code for the meaning."""

from egress_compiler.validate.policies import validate_policies

__all__ = ["validate_policies"]
