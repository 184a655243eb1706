"""NodePlan to the text of the node's files.  No decisions are made here."""

from egress_compiler.render.batches import routes_lines
from egress_compiler.render.files import keepalived_conf, node_files
from egress_compiler.render.members_text import FIRST_POLICY, members_json

__all__ = ["FIRST_POLICY", "keepalived_conf", "members_json", "node_files", "routes_lines"]
