"""NodePlan to the text of the node's files.  No decisions are made here."""

from egress_compiler.render.files import node_files

__all__ = ["node_files"]
