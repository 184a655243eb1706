"""Who is who in the star of tunnels: nobody shares an address, and everybody knows whom they need."""

from pathlib import Path

from egress_compiler.pipeline import Inputs, compile_bundle

EXAMPLE = Path(__file__).parents[2] / "examples" / "dual-stack-ha"


def test_no_two_nodes_or_slots_share_a_tunnel_address_or_a_mac() -> None:
    inputs = Inputs(
        policies=(EXAMPLE / "policies",), cluster=(EXAMPLE / "cluster.json",), settings=EXAMPLE / "settings.yaml"
    )
    compiled = compile_bundle(inputs)
    tunnels = {plan.node: plan.kernel.tunnel for plan in compiled.plans}
    assert len(tunnels) > 3
    own = [address.partition("/")[0] for tunnel in tunnels.values() for address in tunnel.addresses]
    vips = {
        vip.address
        for plan in compiled.plans
        if plan.gateway is not None
        for slot in plan.gateway.memberships
        for vip in slot.tunnel_vips
    }
    assert vips
    assert len({*own, *vips}) == len(own) + len(vips)
    assert len({tunnel.mac for tunnel in tunnels.values()}) == len(tunnels)
    for plan in compiled.plans:
        for peer in plan.kernel.peers:
            assert peer.node != plan.node
            theirs = tunnels[peer.node]
            assert (peer.underlay, peer.mac) == (theirs.underlay, theirs.mac)
            assert peer.addresses == tuple(address.partition("/")[0] for address in theirs.addresses)
