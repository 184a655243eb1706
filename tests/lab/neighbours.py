"""Rules as kube-proxy and Calico write them, and a user's own nftables table: what a node has beside ours."""

from egress_compiler.lab import Lab

KUBE_PROXY = """
*filter
:KUBE-FORWARD - [0:0]
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
*nat
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A KUBE-SERVICES ! -s {pods} -d {services} -j KUBE-MARK-MASQ
COMMIT
"""
CALICO = """
*raw
:cali-PREROUTING - [0:0]
-A PREROUTING -j cali-PREROUTING
-A cali-PREROUTING -j MARK --set-xmark 0x0/0xf0000
-A cali-PREROUTING -i lab+ -j MARK --set-xmark 0x40000/0x40000
-A cali-PREROUTING -m mark --mark 0x40000/0x40000 -m rpfilter --validmark --invert -j DROP
COMMIT
*mangle
:cali-PREROUTING - [0:0]
-A PREROUTING -j cali-PREROUTING
-A cali-PREROUTING -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-PREROUTING -m mark --mark 0x10000/0x10000 -j ACCEPT
COMMIT
*filter
:cali-FORWARD - [0:0]
:cali-from-wl-dispatch - [0:0]
:cali-to-wl-dispatch - [0:0]
-A FORWARD -j cali-FORWARD
-A FORWARD -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-FORWARD -j MARK --set-xmark 0x0/0xe0000
-A cali-FORWARD -i lab+ -j cali-from-wl-dispatch
-A cali-FORWARD -o lab+ -j cali-to-wl-dispatch
-A cali-from-wl-dispatch -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-from-wl-dispatch -m conntrack --ctstate INVALID -j DROP
-A cali-from-wl-dispatch -p udp -m multiport --dports 4789 -j DROP
-A cali-from-wl-dispatch -j MARK --set-xmark 0x10000/0x10000
-A cali-to-wl-dispatch -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-to-wl-dispatch -m conntrack --ctstate INVALID -j DROP
-A cali-to-wl-dispatch -j MARK --set-xmark 0x10000/0x10000
COMMIT
*nat
:cali-POSTROUTING - [0:0]
-A POSTROUTING -j cali-POSTROUTING
-A cali-POSTROUTING -s {pods} ! -d {pods} -j MASQUERADE --random-fully
COMMIT
"""
USERS_OWN = """
table inet of_the_user {
    chain forward {
        type filter hook forward priority filter; policy accept;
        ct state invalid drop
    }
    chain prerouting {
        type filter hook prerouting priority mangle; policy accept;
        meta mark set meta mark | 0x00000100
    }
    chain postrouting {
        type nat hook postrouting priority srcnat; policy accept;
        oifname "eth0" ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade
    }
}
"""
_FAMILIES = (
    ("iptables", "10.244.0.0/16", "10.96.0.0/16"),
    ("ip6tables", "fd00:10:244::/48", "fd00:10:96::/112"),
)


def move_in(lab: Lab) -> None:
    """All of them, on every node, with strict reverse path filters on every device."""
    for node in lab.topology.nodes:
        for tables, pods, services in _FAMILIES:
            for rules in (KUBE_PROXY, CALICO):
                text = rules.format(pods=pods, services=services)
                lab.exec(node.name, [f"{tables}-restore", "--noflush"], stdin=text)
        lab.exec(node.name, ["nft", "-f", "-"], stdin=USERS_OWN)
        strict = "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 1 >$f; done"
        lab.exec(node.name, ["sh", "-c", strict])


def rules_of(lab: Lab, node: str) -> str:
    """What they all have on a node, in the words of their own tools."""
    commands = ("iptables-save", "ip6tables-save", "nft list table inet of_the_user")
    printed = "".join(lab.exec(node, command.split()).stdout for command in commands)
    return "\n".join(line for line in printed.splitlines() if not line.startswith(("#", ":")))
