"""Files to documents with positions, and to the cluster's few fields.  The only stage that reads."""

from egress_compiler.load.cluster import load_cluster
from egress_compiler.load.documents import load_documents
from egress_compiler.load.inventory import load_uplinks
from egress_compiler.load.lock import load_lock, lock_text
from egress_compiler.load.settings import load_settings

__all__ = ["load_cluster", "load_documents", "load_lock", "load_settings", "load_uplinks", "lock_text"]
