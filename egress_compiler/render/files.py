"""Which files a node gets, each one function."""

from __future__ import annotations

from collections.abc import Mapping

from egress_compiler.contract import names
from egress_compiler.contract.plan import NodePlan
from egress_compiler.render.batches import fdb_batch, routes_batches, sysctl_conf, vxlan_batch
from egress_compiler.render.plan_text import plan_json
from egress_compiler.render.text import Rendered, rendered
from egress_compiler.ruleset import ruleset, write


def node_files(plan: NodePlan, descriptions: Mapping[str, str]) -> dict[str, str]:
    """File name to text.  ``descriptions`` has the user's words by policy and gateway, for comments."""
    files = {
        names.PLAN: plan_json(plan),
        names.RULESET: write(ruleset(plan, descriptions)).text,
        names.VXLAN_BATCH: vxlan_batch(plan),
        names.FDB_BATCH: fdb_batch(plan),
        names.SYSCTL_CONF: sysctl_conf(plan),
    }
    files |= {names.ROUTES_BATCH[family]: text for family, text in routes_batches(plan).items()}
    if plan.gateway is not None:
        files[names.KEEPALIVED] = keepalived_conf(plan, descriptions).text
        if plan.gateway.sync is not None:
            files[names.CONNTRACKD] = _gateway_file("conntrackd.conf.j2", plan).text
        files[names.NOTIFY] = _gateway_file("notify.sh.j2", plan).text
        files[names.WATCH] = _gateway_file("watch.j2", plan).text
    return files


def keepalived_conf(plan: NodePlan, descriptions: Mapping[str, str]) -> Rendered:
    """Of a gateway.  Its places: ``("instance", SLOT)``, ``("priority", SLOT)``, and ``("eip", SLOT, ADDRESS)``."""
    return _gateway_file("keepalived.conf.j2", plan, descriptions=descriptions)


def _gateway_file(template: str, plan: NodePlan, **values: object) -> Rendered:
    return rendered(template, plan=plan, gateway=plan.gateway, **values)
