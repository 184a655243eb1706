"""The example with a second uplink on its gateways, a VLAN: a policy's EIP is taken from there."""

import shutil
from pathlib import Path

from tests.lab.by_hand import EXAMPLES

DEVICE = "vlan20"
EIPS = ("10.20.0.60", "fd00:10:20::60")
"""Of the bank policy, towards 203.0.113.0/24, 2001:db8:ffff::/64 and the VLAN; the rest leaves by the main uplink."""
SETTINGS = f"""
uplinks:
  - interface: {DEVICE}
    cidrs: [10.20.0.0/24, "fd00:10:20::/64"]
    ipv4Gateway: 10.20.0.1
    ipv6Gateway: fd00:10:20::1
"""


def write_example(directory: Path) -> Path:
    """The example's files in ``directory``, and where they are."""
    target = directory / "example"
    shutil.copytree(EXAMPLES / "dual-stack-ha", target, ignore=shutil.ignore_patterns("*.lock.json"))
    _replace(
        target / "policies" / "gateways.yaml",
        ("      - 10.6.1.60-10.6.1.65\n", "      - 10.6.1.60-10.6.1.65\n      - 10.20.0.60\n"),
        (
            "      - fd00:10:6:1::60-fd00:10:6:1::65\n",
            "      - fd00:10:6:1::60-fd00:10:6:1::65\n      - fd00:10:20::60\n",
        ),
    )
    _replace(
        target / "policies" / "payments.yaml",
        ("    ipv4: 10.6.1.62\n", f"    ipv4: {EIPS[0]}\n"),
        ("    - 203.0.113.0/24\n", "    - 203.0.113.0/24\n    - 10.20.0.0/24\n    - fd00:10:20::/64\n"),
    )
    with (target / "settings.yaml").open("a") as settings:
        settings.write(SETTINGS)
    return target


def _replace(path: Path, *changes: tuple[str, str]) -> None:
    text = path.read_text()
    for before, after in changes:
        assert text.count(before) == 1
        text = text.replace(before, after)
    path.write_text(text)
