"""Labs for tests: a small dual-stack cluster, and labs of it that are gone when the test is."""

import itertools
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest

from egress_compiler.lab import Lab, LabError, LabTopology, build_topology, down, up
from egress_compiler.lab.run import require_means

CLUSTER = Path(__file__).with_name("cluster.json")
"""gw1, gw2, worker1, worker2 with eight pods, a Service, a host-network pod and a finished one."""
GATEWAYS = ("gw1", "gw2")

_numbers = itertools.count()


@pytest.fixture(scope="session")
def lab_means() -> None:
    """Skips what needs a lab where none can be made: without root, or with a tool missing."""
    try:
        require_means()
    except LabError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def topology() -> LabTopology:
    return build_topology([CLUSTER], extra_addresses=["172.30.0.100-172.30.0.110", "fd00:172:30::100-fd00:172:30::110"])


@pytest.fixture
def lab_name() -> Iterator[str]:
    """A name that no other test uses, nor another run of the tests; what is up under it goes down."""
    name = f"test-{os.getpid()}-{next(_numbers)}"
    yield name
    if os.geteuid() == 0:
        down(name)


@pytest.fixture(scope="session")
def lab(lab_means: None, topology: LabTopology) -> Iterator[Lab]:
    """A lab of CLUSTER that many tests share: leave it as it was."""
    name = f"test-{os.getpid()}-shared"
    yield up(topology, name=name, gateways=GATEWAYS)
    down(name)


MakeLab = Callable[..., Lab]


@pytest.fixture
def make_lab(lab_means: None) -> Iterator[MakeLab]:
    """Brings up labs of any topology, to be changed at will; all go down after the test."""
    names: list[str] = []

    def make(topology: LabTopology, gateways: Collection[str] = ()) -> Lab:
        names.append(f"test-{os.getpid()}-{next(_numbers)}")
        return up(topology, name=names[-1], gateways=gateways)

    yield make
    for name in names:
        down(name)
