"""Anything in any order: in the end the reflector knows what the server has, and it never told what cannot be."""

import random
import time
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.egress.gateway.plugins.module_utils.follow.pods import pods_of

from tests.follow_api.following import QUICK, Following
from tests.follow_api.scripted_api import ScriptedApi

FAULTS = (
    *("gone", "gone-event", "gone-page", "cut", "drip", "silent", "reset", "duplicate", "disorder", "status"),
    *("html", "garbage", "deep", "end", "odd", "unauthorized", "forbidden", "broken", "unavailable", "ahead"),
)
"""But for those that only take time."""
TIMING = replace(QUICK, patience=0.25, watch=2)


class Chaos:
    def __init__(self, api: ScriptedApi, seed: int) -> None:
        self.api = api
        self.dice = random.Random(seed)
        self.log: list[str] = []

    def step(self) -> None:
        """Mostly pods that come, change and go, with addresses that are used again; now and then something else."""
        kind = self.dice.random()
        names = [one["metadata"]["name"] for one in self.api.objects("Pod")]
        if kind < 0.4 or not names:
            ips = [f"10.0.0.{self.dice.randrange(20)}"]
            self.do("add_pod", "a", f"p{self.dice.randrange(12)}", self.dice.choice(["n1", "n1", "n2"]), ips)
        elif kind < 0.7:
            self.do("delete_pod", "a", self.dice.choice(names))
        elif kind < 0.85:
            self.do("misbehave", self.dice.choice(FAULTS), self.dice.choice(["", "list", "watch"]), "", 1, 0.0005)
        elif kind < 0.9:
            self.do("cut")
        elif kind < 0.94:
            self.do("compact")
        elif kind < 0.97:
            self.do("restart", *self.dice.choice([(), (self.api.version // 3,), (self.api.version * 5,)]))
        else:
            time.sleep(self.dice.random() * 0.1)

    def do(self, name: str, *arguments: object) -> None:
        self.log.append(f"{name}{arguments}")
        getattr(self.api, name)(*arguments)

    def truth(self) -> dict[tuple[str, str], tuple[str, str]]:
        return {
            ("a", one["metadata"]["name"]): (one["metadata"]["uid"], one["status"]["podIP"])
            for one in self.api.objects("Pod")
            if one["spec"]["nodeName"] == "n1"
        }


@pytest.mark.parametrize("seed", range(24))
def test_it_always_comes_to_know(tmp_path: Path, seed: int) -> None:
    with ScriptedApi(bookmark_seconds=0.05) as api:
        api.refuses_future = bool(seed % 2)
        path = tmp_path / "kubeconfig"
        path.write_text(api.kubeconfig(), encoding="utf-8")
        # So that no history comes to where another one was: that is not to be noticed.
        api.restart(10**6)
        chaos = Chaos(api, seed)
        with Following(path, replace(pods_of("n1"), page=3), TIMING) as it:
            for _ in range(80):
                chaos.step()
                if chaos.dice.random() < 0.3:
                    time.sleep(0.005)
            api.heal()

            def knows() -> bool:
                return {key: (one.uid, one.addresses[0]) for key, one in dict(it.known).items()} == chaos.truth()

            try:
                it.until(knows, 15)
                it.until_synced()
            except AssertionError:
                print("\n".join(chaos.log), chaos.truth(), sep="\n")
                raise
            assert knows()
