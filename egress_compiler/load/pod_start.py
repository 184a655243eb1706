"""The settings of the gate at pod start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from egress_compiler.diagnostics import Collector
from egress_compiler.document import Document
from egress_compiler.model.settings import GateSettings


def parse_gate(document: Document, data: Mapping[str, Any], found: Collector) -> GateSettings | None:
    """None where pods start without it; what is said and would have no effect is an error."""
    wanted, said, default = data.get("podStart") == "gate", data.get("gate", {}), GateSettings()
    if wanted and data.get("membership") != "followed" and not document.faulty("membership"):
        message = "podStart: gate needs membership: followed: pods that are compiled are not known before they start"
        place = document.at("podStart")
        found.error("pod-start", message, place, hint="write membership: followed, or leave podStart out")
    if "gate" in data and not wanted and not document.faulty("podStart"):
        message = "gate has no effect without podStart: gate"
        found.error("pod-start", message, document.at("gate"), hint="write podStart: gate, or leave gate out")
    if not wanted:
        return None
    return GateSettings(
        timeout_s=said.get("timeoutSeconds", default.timeout_s),
        on_timeout=said.get("onTimeout", default.on_timeout),
        exempt=tuple(sorted(set(said.get("exemptNamespaces", default.exempt)))),
        conf_dir=said.get("confDir", default.conf_dir),
        bin_dir=said.get("binDir", default.bin_dir),
    )
