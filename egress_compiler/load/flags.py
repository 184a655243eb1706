"""What the control plane was started with, read from its pods' containers.

Anybody's pod may stand in kube-system: of programs that can be told to be others nothing is believed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from egress_compiler.load.objects import Container, Object, Variable

SERVICE_FLAG, POD_FLAG = "--service-cluster-ip-range", "--cluster-cidr"
ADVERTISE_FLAG = "--advertise-address"
FLAGS = (SERVICE_FLAG, POD_FLAG, ADVERTISE_FLAG)
PROGRAMS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "cloud-controller-manager",
    "kube-router",
    "hyperkube",
    "k3s",
    "rke2",
    "k0s",
)
VIP_PROGRAM, VIP_VARIABLES = "kube-vip", ("address", "vip_address")
"""kube-vip has the address that it moves from node to node in one of these variables."""

_REFERENCE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
_environment_decoder = msgspec.json.Decoder(list[Variable] | None)
_SPACE = re.compile(r"\s")


class Flag(NamedTuple):
    """A flag and its value, with the container's place and the argument's; ``readable``: no variable is left in it."""

    name: str
    value: str
    container: int
    field: str
    position: int

    @property
    def readable(self) -> bool:
        return bool(self.value) and "$" not in self.value


def control_plane_flags(item: Object) -> Iterator[Flag]:
    """FLAGS of the pod's containers that may be the control plane's."""
    for index, container in enumerate(item.spec.containers or ()):
        if _may_be_control_plane(item.metadata.name, container):
            yield from _flags(index, container)


def virtual_addresses(item: Object) -> Iterator[str]:
    """The addresses that kube-vip moves, where the pod is kube-vip's."""
    for container in item.spec.containers or ():
        if VIP_PROGRAM in item.metadata.name or VIP_PROGRAM in (container.name or ""):
            yield from (v.value for v in _environment(container) if v.name in VIP_VARIABLES and v.value)


def _may_be_control_plane(pod: str, container: Container) -> bool:
    """Of a container without name and command nothing tells; a snapshot may have left them out."""
    command = container.command or ()
    if not command and not container.name:
        return True
    # A command says better than a name what runs; a wrapper's arguments have a script, or the path of what it runs.
    words = [*_programs(command)]
    wrapped = _programs(text for text in container.args or () if text.startswith("/") or _SPACE.search(text))
    named = container.name.endswith(PROGRAMS) if container.name else pod.startswith(PROGRAMS)
    return (not words and named) or any(word.endswith(PROGRAMS) for word in (*words, *wrapped))


def _programs(arguments: Iterable[str]) -> Iterator[str]:
    """The last parts of the words that are no options, a script's words included."""
    for word in (word for text in arguments for word in text.split()):
        if not word.startswith("-"):
            yield word.strip("\"';()").rpartition("/")[2]


def _flags(index: int, container: Container) -> Iterator[Flag]:
    variables = _variables(container)
    for field, arguments in (("command", container.command or ()), ("args", container.args or ())):
        for position, argument in enumerate(arguments):
            # An argument with spaces is a shell's script, whose words are arguments themselves.
            script = _SPACE.search(argument) is not None
            words = [word.strip("\"'") for word in argument.split()] if script else [argument]
            following = () if script else arguments[position + 1 : position + 2]
            for name, value in _given([*words, *following], len(words)):
                yield Flag(name, _expanded(value.strip("\"'"), variables), index, field, position)


def _given(words: Sequence[str], own: int) -> Iterator[tuple[str, str]]:
    """``--flag=value``, or the value in the next word; what looks like a flag is no value."""
    for position, word in enumerate(words[:own]):
        name, equals, value = word.partition("=")
        if name in FLAGS:
            after = words[position + 1] if position + 1 < len(words) else ""
            yield name, value if equals else "" if after.startswith("-") else after


def _environment(container: Container) -> list[Variable]:
    """In a form that is not understood it tells nothing."""
    try:
        return (_environment_decoder.decode(container.env) if bytes(container.env) else None) or []
    except msgspec.DecodeError:
        return []


def _variables(container: Container) -> Mapping[str, str]:
    """Those with a literal value; one may name others before it."""
    found: dict[str, str] = {}
    for variable in _environment(container):
        if variable.value is not None:
            found[variable.name] = _expanded(variable.value, found)
    return found


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    """As Kubernetes expands $(NAME); what it does not know stays as it is."""
    return _REFERENCE.sub(lambda match: variables.get(match[1], match[0]), text)


def as_arguments(flags: Iterable[Flag]) -> list[str]:
    """Those that can be read, each in one word."""
    return [f"{flag.name}={flag.value}" for flag in flags if flag.readable]
