"""Which files a node gets, each one template or one encoding."""

from __future__ import annotations

import msgspec

from egress_compiler.ir import NodePlan
from egress_compiler.render.text import rendered


def node_files(plan: NodePlan, descriptions: dict[str, str]) -> dict[str, str]:
    """File name to text.  ``descriptions`` has the user's words by policy and gateway, for comments."""
    values = {"plan": plan, "descriptions": descriptions}
    files = {
        "plan.json": plan_json(plan),
        "nftables.nft": rendered("nftables.nft.j2", **values),
        "vxlan.batch": rendered("vxlan.batch.j2", **values),
        "fdb.batch": rendered("fdb.batch.j2", **values),
        "routes.batch": rendered("routes.batch.j2", family=4, **values),
        "sysctl.conf": rendered("sysctl.conf.j2", **values),
    }
    families = {rule.family for rule in plan.rules} | {rule.family for rule in plan.last_resort.rules}
    if 6 in families:
        files["routes6.batch"] = rendered("routes.batch.j2", family=6, **values)
    if plan.role == "gateway":
        files["keepalived.conf"] = rendered("keepalived.conf.j2", **values)
        if plan.sync is not None:
            files["conntrackd.conf"] = rendered("conntrackd.conf.j2", **values)
        files["notify.sh"] = rendered("notify.sh.j2", **values)
        files["watch"] = rendered("watch.j2", **values)
    return files


def plan_json(plan: NodePlan) -> str:
    return msgspec.json.format(msgspec.json.encode(plan), indent=2).decode() + "\n"
