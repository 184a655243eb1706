"""Draws the pictures of docs/datapath.md beside itself: ``python -m docs.pictures.draw``.

Addresses and numbers are those of the bundle in examples/gitops, and the chains are read from it, so that a change of
the datapath changes the pictures; a test holds that they are up to date.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from docs.pictures.svg import PAD, Picture

HERE = Path(__file__).parent

BUNDLE = HERE.parents[1] / "examples" / "gitops" / "bundle" / "nodes"
POD, SERVER, EIP = "10.244.3.10", "203.0.113.9", "192.0.2.65"
PATH_NOTES = (
    "Who is master is VRRP's business between gateways: node-1 sends to the tunnel VIP 172.31.255.254,"
    " and ARP over the tunnel says who has it.",
)
GATEWAY_NOTES = (
    "A failover moves the addresses, nothing else; the connections of both roles stay as they are. From a worker,"
    " packets come in by egress.vxlan",
    "to the gateway role directly, and their answers leave by the CNI's route.",
)
FAILOVER_NOTES = (
    "gate-b knows the open connections before: conntrackd has told it of each. Gratuitous ARP and neighbour"
    " advertisements go out by the tunnel",
    "and the uplink at once, and again every 5 s. Who stops in good order says so: then gate-b waits 20 ms"
    " instead of 620.",
)
_BASE = re.compile(r"\tchain (\S+) \{\n\t\ttype (\w+) hook (\w+) priority ([^;]+);[^\n]*\n(.*?)\n\t\}", re.DOTALL)
_JUMP = re.compile(r"\b(?:jump|goto) (\w+)(?=[\s,;]|$)")
_PRIORITY = {"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "srcnat": 100}
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
_OTHERS = {
    "prerouting": {-200: "conntrack", -100: "DNAT of kube-proxy, CNI"},
    "input": {0: "the node's firewall"},
    "forward": {0: "kube-proxy, CNI, firewall"},
    "output": {-200: "conntrack", -100: "DNAT of kube-proxy, CNI"},
    "postrouting": {100: "masquerade of kube-proxy, CNI"},
}


@dataclass(frozen=True, slots=True)
class BaseChain:
    """A chain of the table at a hook, as the bundle has it; ``calls`` are the chains that it may enter by name."""

    name: str
    kind: str
    hook: str
    priority: str
    calls: tuple[str, ...]

    @property
    def place(self) -> int:
        """Its priority as a number: lower comes first."""
        word, *rest = self.priority.split()
        return _PRIORITY[word] + (int("".join(rest)) if rest else 0)


def base_chains(text: str) -> list[BaseChain]:
    """Of an nftables file, in the order in which a hook calls them."""
    found = [
        BaseChain(name, kind, hook, priority, tuple(dict.fromkeys(_JUMP.findall(body))))
        for name, kind, hook, priority, body in _BASE.findall(text)
    ]
    return sorted(found, key=lambda chain: (_HOOKS.index(chain.hook), chain.place))


def hooks(node: str, title: str) -> Picture:
    """Each hook with our chains among those of others, in the order in which a packet meets them."""
    chains = base_chains((BUNDLE / node / "nftables.nft").read_text(encoding="utf-8"))
    width, gap, left = 214, 16, 20
    columns: dict[str, list[tuple[int, str, list[str]]]] = {hook: [] for hook in _HOOKS}
    for chain in chains:
        lines = [f"*{chain.name}", f"{chain.kind}, {chain.priority} = {chain.place}", *(f"`  {c}" for c in chain.calls)]
        columns[chain.hook].append((chain.place, "ours", lines))
    for hook, others in _OTHERS.items():
        columns[hook] += [(place, "other", [what, str(place)]) for place, what in others.items()]
    heights = [sum(2 * PAD - 4 + 16 * len(lines) + 10 for _, _, lines in column) for column in columns.values()]
    picture = Picture(title, 2 * left + 5 * width + 4 * gap, 78 + max(heights))
    picture.text(left, 26, "*" + title)
    for number, (hook, column) in enumerate(columns.items()):
        x, y = left + number * (width + gap), 62
        picture.text(x, 50, "*" + hook, ink="line")
        for _, kind, lines in sorted(column, key=lambda entry: (entry[0], entry[1])):
            y = picture.box(x, y, width, lines, "ours" if kind == "ours" else "other")[1] + 10
    return picture


def notes(picture: Picture, lines: tuple[str, ...]) -> None:
    """At the foot."""
    for number, line in enumerate(reversed(lines)):
        picture.text(20, picture.height - 18 - 16 * number, line, ink="line")


def path() -> Picture:
    picture = Picture("The path of a packet from a governed pod to a server outside, and of the answer", 1120, 560)
    picture.text(20, 26, "*There: the pod's address until the gateway, the egress IP from there")
    picture.box(20, 42, 340, ["*node-1, the pod's node"], "host", height=300)
    picture.box(520, 42, 340, ["*gate-a, master of slot 1"], "host", height=300)
    picture.box(970, 42, 130, ["*outside"], "host", height=480)
    picture.box(36, 76, 308, ["*pod shop/web", f"`{POD} > {SERVER}"], "device")
    picture.box(
        36,
        136,
        308,
        ["*prerouting", "policy.egp.shop.web: answer 2, in conntrack", "slot 1: mark 0x26000001"],
    )
    picture.box(36, 212, 308, ["*routing", "rule 99: that mark looks up table 3001", "`default via 172.31.255.254"])
    picture.box(36, 288, 308, ["postrouting, numbered: the mark is 2"])
    picture.box(536, 76, 308, ["*raw", "from the tunnel: zone 9767, number 2"])
    picture.box(536, 136, 308, ["*prerouting", "arrived: conntrack mark 0x27000002"])
    picture.box(536, 196, 308, ["*postrouting", "translate: for number 2 the source is now", f"`{EIP}"])
    picture.box(536, 272, 308, ["*guard", "leave_with: an egress IP, or not at all"])
    for y in (122, 198, 274):
        picture.arrow([(190, y), (190, y + 13)])
    for y, end in ((122, 135), (182, 195), (258, 271)):
        picture.arrow([(690, y), (690, end)])
    picture.arrow([(345, 301), (440, 301), (440, 99), (535, 99)])
    picture.text(372, 322, "egress.vxlan: VNI 100,", ink="there")
    picture.text(372, 338, "number 2", ink="there")
    picture.arrow([(845, 292), (969, 292)])
    picture.text(864, 268, f"`{EIP}", ink="there")
    picture.text(864, 284, f"`> {SERVER}", ink="there")
    picture.text(20, 376, "*Back: to the egress IP, and from the gateway by the CNI's own path")
    picture.box(20, 392, 340, ["*node-1"], "host", height=130)
    picture.box(520, 392, 340, ["*gate-a"], "host", height=130)
    picture.box(
        536,
        424,
        308,
        [
            "*raw, conntrack",
            "to an egress IP: zone 9767",
            f"the destination is {POD} again",
            "routing: the CNI's route to node-1",
        ],
    )
    picture.box(36, 440, 308, ["*pod shop/web", f"`{SERVER} > {POD}"], "device")
    picture.arrow([(969, 464), (845, 464)], "back")
    picture.text(864, 440, f"`{SERVER}", ink="back")
    picture.text(864, 456, f"`> {EIP}", ink="back")
    picture.arrow([(535, 464), (345, 464)], "back")
    picture.text(386, 452, "CNI, no tunnel", ink="back")
    notes(picture, PATH_NOTES)
    return picture


def gateway() -> Picture:
    picture = Picture("The two roles of a gateway, and the veth pair between them", 1120, 500)
    picture.text(20, 26, "*gate-a: a worker for its own pods, and a gateway for everybody's")
    picture.box(20, 42, 440, ["*worker role, conntrack zone 0"], "host", height=400)
    picture.box(582, 42, 378, ["*gateway role, conntrack zone 9767"], "host", height=400)
    picture.box(40, 78, 190, ["*a pod of gate-a"], "device", height=330)
    picture.box(270, 78, 170, ["*prerouting", "answer 2, slot 1"])
    picture.box(270, 150, 170, ["*has the tunnel VIP", "0x26003fff: table 3000"])
    picture.box(270, 250, 170, ["*otherwise", "0x26000001: table 3001"])
    picture.box(464, 150, 114, ["*veth pair", "egress.worker", "egress.gateway"], "device", height=62)
    picture.box(464, 250, 114, ["*egress.vxlan", "tunnel"], "device", height=46)
    picture.box(
        600,
        100,
        340,
        [
            "*prerouting, arrived",
            "conntrack mark 0x2f000002: own pod, answer 2;",
            "0x27000002 for what comes by the tunnel",
        ],
    )
    picture.box(600, 190, 340, ["*postrouting, translate", "for number 2 the source is the egress IP"])
    picture.box(
        600,
        330,
        340,
        [
            "*raw, conntrack",
            "to an egress IP: the pod's address again",
            "own pod: mark 0x28000000, table 20000,",
            "by the veth pair; else the CNI's route",
        ],
    )
    picture.box(1000, 150, 100, ["*uplink", "bond0"], "device", height=230)
    picture.arrow([(231, 104), (269, 104)])
    picture.arrow([(355, 125), (355, 149)])
    picture.line([(355, 197), (355, 249)], "there", width=2, dashed=True)
    picture.arrow([(441, 173), (463, 173)])
    picture.arrow([(579, 173), (590, 173), (590, 130), (599, 130)])
    picture.arrow([(441, 273), (463, 273)], dashed=True)
    picture.text(476, 318, "to the master,", ink="there")
    picture.text(476, 334, "another node", ink="there")
    picture.arrow([(770, 163), (770, 189)])
    picture.arrow([(941, 213), (999, 213)])
    picture.arrow([(999, 363), (941, 363)], "back")
    picture.arrow([(599, 385), (520, 385), (520, 400), (231, 400)], "back")
    picture.text(250, 392, "the answer, over the veth pair", ink="back")
    notes(picture, GATEWAY_NOTES)
    return picture


def failover() -> Picture:
    """With the default timers: an advertisement each 200 ms, missed after three and the skew of priority 230."""
    picture = Picture("A gateway without power, with the default timers", 1120, 430)
    left, right = 150, 1100

    def at(ms: int) -> int:
        return left + 180 + int(ms * 0.86)

    picture.text(20, 26, "*gate-a loses its power; gate-b takes over")
    for number, name in enumerate(("gate-a", "gate-b", "workers", "router outside", "a pod's packets")):
        y = 90 + number * 62
        picture.text(20, y + 4, "*" + name)
        picture.line([(left, y), (right, y)])
    for ms in range(-200, 801, 100):
        picture.line([(at(ms), 58), (at(ms), 366)], dashed=True)
        picture.text(at(ms), 52, f"{ms} ms" if ms else "0", ink="line", anchor="middle")
    for ms in (-200, -3):
        picture.arrow([(at(ms), 90), (at(ms), 150)])
    picture.text(at(-190), 112, "advertisement", ink="there")
    picture.box(at(4), 74, 120, ["*power lost"], "other", height=30)
    picture.box(
        at(4),
        138,
        at(620) - at(4),
        ["hears nothing for 3 x 200 ms and 20 ms of skew: gate-a is dead"],
        "other",
        height=30,
    )
    picture.box(at(624), 138, right - at(624), ["*master"], height=30)
    for y in (214, 276):
        picture.arrow([(at(634), y - 46), (at(634), y - 16)])
    picture.box(at(624), 200, right - at(624), ["tunnel VIP: MAC of gate-b"], height=30)
    picture.box(at(624), 262, right - at(624), ["egress IPs: MAC of gate-b"], height=30)
    picture.box(left, 324, at(-4) - left, ["by gate-a"], height=30)
    missed = "*no answer: 420 to 620 ms, by how old the last advertisement was"
    picture.box(at(4), 324, at(620) - at(4), [missed], "other", height=30)
    picture.box(at(624), 324, right - at(624), ["by gate-b"], height=30)
    notes(picture, FAILOVER_NOTES)
    return picture


def pictures() -> dict[str, str]:
    """File name to text."""
    drawn = {
        "path": path(),
        "gateway": gateway(),
        "hooks-worker": hooks("node-1", "The chains of a worker"),
        "hooks-gateway": hooks("gate-a", "The chains of a gateway"),
        "failover": failover(),
    }
    return {f"{name}.svg": picture.render() for name, picture in drawn.items()}


if __name__ == "__main__":
    for name, text in pictures().items():
        (HERE / name).write_text(text, encoding="utf-8")
