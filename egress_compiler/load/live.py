"""A running cluster to a snapshot: through the Kubernetes client, page by page, the few fields that are ever read.

What is read back from a snapshot is what a ``kubectl -o json`` export of the same moment gives: both are decoded by
the same structs.  Finished pods are left out, as the compiler leaves them out.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import msgspec

from egress_compiler.diagnostics import Collector, Severity
from egress_compiler.load.cluster import FINISHED
from egress_compiler.load.cluster_api import ApiFailure, ClusterApi
from egress_compiler.load.cluster_cidrs import CILIUM, CILIUM_POOLS
from egress_compiler.load.discovery import Discovery, path_of
from egress_compiler.load.flags import (
    SERVICE_FLAG,
    VIP_PROGRAM,
    VIP_VARIABLES,
    as_arguments,
    control_plane_flags,
    virtual_addresses,
)
from egress_compiler.load.kubeconfig import Complaints, connect, one_line
from egress_compiler.load.objects import Object

PAGE = 500
"""Objects a request, as kubectl asks for them."""
TIMEOUT = 300.0
"""Seconds for the whole of it; 30,000 pods (330 MB) took 68 on a busy machine."""
RESTARTS = 3
"""How often a list begins again when it changed so much that its pages have expired."""
TICK = 0.2
"""Seconds between two looks at how far it is."""
_SUBNETS = re.compile(r"^\s*((?:serviceSubnet|podSubnet):.*?)\s*$", re.MULTILINE)
_SLICES = "discovery.k8s.io/v1"
_ENDPOINT = re.compile(r"^(controlPlaneEndpoint:.*?)\s*$", re.MULTILINE)
_ANONYMOUS = "system:anonymous"
_USER = re.compile(r'User "([^"]+)"')


class Resource(NamedTuple):
    """What is listed.  ``versions`` are API groups with versions, the first that the cluster serves counts."""

    kind: str
    plural: str
    versions: tuple[str, ...]


RESOURCES = (
    Resource("Node", "nodes", ("v1",)),
    Resource("Pod", "pods", ("v1",)),
    Resource("Namespace", "namespaces", ("v1",)),
    Resource("Service", "services", ("v1",)),
    Resource("ServiceCIDR", "servicecidrs", ("networking.k8s.io/v1", "networking.k8s.io/v1beta1")),
    Resource("IPPool", "ippools", ("crd.projectcalico.org/v1", "projectcalico.org/v3")),
)
KUBEADM = ("kube-system", "kubeadm-config")


class _ListMetadata(msgspec.Struct):
    next: str | None = msgspec.field(name="continue", default=None)


class _Page(msgspec.Struct):
    """``items`` is null where a server written in Go has none; a list without the key is no list."""

    items: list[Object] | msgspec.UnsetType | None = msgspec.UNSET
    kind: str = ""
    message: str = ""
    metadata: _ListMetadata = msgspec.field(default_factory=_ListMetadata)


_page_decoder = msgspec.json.Decoder(_Page)
_object_decoder = msgspec.json.Decoder(Object)


class _Stop(Exception):
    """What was reported makes all further questions pointless."""


def _silent(_: str) -> None:
    """For callers without a terminal."""


def read_live(
    kubeconfig: Path | None,
    context: str | None,
    found: Collector,
    *,
    timeout: float = TIMEOUT,
    show: Callable[[str], None] = _silent,
) -> list[dict[str, Any]]:
    """The cluster's objects, sorted, as plain data; every resource that cannot be read is reported to ``found``.

    Ends after ``timeout`` seconds, whatever plugin, name server or API server is in the way.  ``show`` is told what
    is being done, several times a second.
    """
    reading = _Reading(kubeconfig, context, time.monotonic() + timeout)
    # Nothing else ends a wait for a name, a plugin, or a server that sends a byte now and then.
    thread = threading.Thread(target=reading.run, daemon=True, name="snapshot")
    thread.start()
    while thread.is_alive() and time.monotonic() < reading.until:
        show(reading.doing)
        thread.join(TICK)
    if thread.is_alive():
        found.error(
            "cluster-error",
            f"nothing more within {timeout:g} seconds, while {reading.doing}",
            None,
            hint="is the cluster well? Where it is only large or far away, give more time with --timeout",
        )
        return []
    if reading.crash is not None:
        raise reading.crash
    for diagnostic in reading.found.found:
        report = found.error if diagnostic.severity is Severity.ERROR else found.warning
        report(diagnostic.code, diagnostic.message, None, hint=diagnostic.hint)
    return reading.objects


def snapshot_text(objects: Sequence[dict[str, Any]]) -> str:
    """A List with one object a line, so that a diff of two snapshots names what changed."""
    lines = ",\n".join(f"    {json.dumps(item, sort_keys=True, ensure_ascii=False)}" for item in objects)
    return f'{{\n  "apiVersion": "v1",\n  "kind": "List",\n  "items": [\n{lines}\n  ]\n}}\n'


class _Reading:
    """One reading of one cluster, in a thread of its own; ``doing`` is for people, the rest for after its end."""

    def __init__(self, kubeconfig: Path | None, context: str | None, until: float) -> None:
        self._kubeconfig, self._context = kubeconfig, context
        self.until = until
        self.doing = "asking for credentials"
        self.found = Collector()
        self.objects: list[dict[str, Any]] = []
        self.crash: BaseException | None = None

    def run(self) -> None:
        complaints = Complaints()
        logging.getLogger().addHandler(complaints)
        try:
            client = connect(self._kubeconfig, self._context, complaints, self.found)
            if client is not None:
                self._read(_Reader(ClusterApi(client, self.until), complaints, self))
        except _Stop:
            self.objects = []
        except BaseException as problem:  # the caller's thread raises it
            self.crash = problem
        finally:
            logging.getLogger().removeHandler(complaints)

    def _read(self, reader: _Reader) -> None:
        for resource in RESOURCES:
            self.objects += reader.listed(resource)
        # Who may not read it lacks the pods' range and the control plane's address as well, which nodes tell mostly.
        self.objects += reader.kubeadm_config(needed=not any(_tells_services(item) for item in self.objects))
        self.objects += reader.helpful()


def _tells_services(item: dict[str, Any]) -> bool:
    """Whether this is a ServiceCIDR, or a control plane's pod with the Service CIDRs among its arguments."""
    if item["kind"] == "ServiceCIDR":
        return True
    containers = item.get("spec", {}).get("containers", ())
    return any(flag.startswith(SERVICE_FLAG) for container in containers for flag in container.get("args", ()))


class _Reader:
    def __init__(self, api: ClusterApi, complaints: Complaints, reading: _Reading) -> None:
        self._api = api
        self._complaints = complaints
        self._discovery = Discovery(api)
        self._reading = reading
        self._found = reading.found

    def listed(self, resource: Resource) -> list[dict[str, Any]]:
        """Every object of ``resource``, sorted; none where it may be missing and is not served."""
        version = self._version(resource)
        items = self._all_pages(resource, version) if version is not None else None
        if version is None or items is None:
            return []
        kept = [item for item in items if item.status.phase not in FINISHED]
        kept.sort(key=lambda item: (item.metadata.namespace or "", item.metadata.name))
        return [_plain(item, resource.kind, version) for item in kept]

    def _version(self, resource: Resource) -> str | None:
        self._reading.doing = f"asking {self._api.host} what it serves"
        try:
            version = next((v for v in resource.versions if self._discovery.serves(v, resource.plural)), None)
        except (ApiFailure, msgspec.DecodeError) as problem:
            if isinstance(problem, ApiFailure) and problem.status == 403:
                self._forbidden(problem, "ask what it serves", 'nonResourceURLs: ["/apis", "/apis/*"], verbs: [get]')
            else:
                self._report(problem, "asked what it serves", "tells what it serves")
            raise _Stop from None
        return version

    def _all_pages(self, resource: Resource, version: str) -> list[Object] | None:
        """None where something is wrong, which is reported."""
        plural = resource.plural
        for _ in range(RESTARTS + 1):
            try:
                return list(self._pages(plural, f"{path_of(version)}/{plural}"))
            except ApiFailure as problem:
                if problem.status == 410:
                    continue
                if problem.status == 403:
                    group = version.rpartition("/")[0]
                    rule = f"apiGroups: [{json.dumps(group)}], resources: [{plural}], verbs: [list]"
                    self._forbidden(problem, f"list {plural}", rule)
                else:
                    self._report(problem, f"asked to list {plural}", f"lists {plural}")
                return None
            except msgspec.DecodeError as problem:
                self._report(problem, f"asked to list {plural}", f"lists {plural}")
                return None
        self._found.error("cluster-error", f"the list of {plural} kept expiring while it was read", None)
        return None

    def _pages(self, plural: str, path: str) -> Iterator[Object]:
        query: dict[str, str | int] = {"limit": PAGE}
        read = 0
        while True:
            self._reading.doing = f"reading {plural}" + (f", {read:,} so far" if read else "")
            page = _page_decoder.decode(self._api.get(path, query))
            if page.items is msgspec.UNSET or not isinstance(page.items, list | None):
                kind = f"a {one_line(page.kind)}" if page.kind else "something"
                text = f": {one_line(page.message)}" if page.message else ""
                raise ApiFailure(200, f"{kind} without items{text}")
            yield from page.items or ()
            read += len(page.items or ())
            if not page.metadata.next:
                return
            query = {"limit": PAGE, "continue": page.metadata.next}

    def kubeadm_config(self, *, needed: bool) -> list[dict[str, Any]]:
        """The ConfigMap with kubeadm's networking, where kubeadm made the cluster.

        Who may not read it is told so where it is ``needed``: the Service CIDRs may stand in the settings as well.
        """
        namespace, name = KUBEADM
        self._reading.doing = f"reading the ConfigMap {namespace}/{name}"
        try:
            body = self._api.get(f"/api/v1/namespaces/{namespace}/configmaps/{name}")
            return [_plain(_object_decoder.decode(body), "ConfigMap", "v1")]
        except ApiFailure as problem:
            if problem.status == 403 and needed:
                rule = f'apiGroups: [""], resources: [configmaps], resourceNames: [{name}], verbs: [get]'
                self._forbidden(problem, f"get the ConfigMap {namespace}/{name}", rule, warning=True)
            elif problem.status not in (403, 404):
                self._report(problem, f"asked to get the ConfigMap {name}", f"shows the ConfigMap {name}")
        except msgspec.DecodeError as problem:
            self._report(problem, f"asked to get the ConfigMap {name}", f"shows the ConfigMap {name}")
        return []

    def helpful(self) -> list[dict[str, Any]]:
        """What tells more of the inside of the cluster: the endpoints of its API servers, and Cilium's pool of pods.

        Who may not read them has nodes' addresses and podCIDRs, and is warned by the compiler of pods outside of them.
        """
        self._reading.doing = "reading the endpoints of the API servers"
        query: dict[str, str | int] = {"labelSelector": "kubernetes.io/service-name=kubernetes"}
        try:
            body = self._api.get(f"{path_of(_SLICES)}/namespaces/default/endpointslices", query)
            items = _page_decoder.decode(body).items
            slices = sorted(items if isinstance(items, list) else (), key=lambda item: item.metadata.name)
        except (ApiFailure, msgspec.DecodeError):
            slices = []
        try:
            cilium = [_object_decoder.decode(self._api.get(f"/api/v1/namespaces/kube-system/configmaps/{CILIUM}"))]
        except (ApiFailure, msgspec.DecodeError):
            cilium = []
        found = [_plain(item, "ConfigMap", "v1") for item in cilium]
        return [*found, *(_plain(item, "EndpointSlice", _SLICES) for item in slices)]

    def _forbidden(self, problem: ApiFailure, what: str, rule: str, *, warning: bool = False) -> None:
        if f'"{_ANONYMOUS}"' in problem.text:
            self._refused(f"takes you for {_ANONYMOUS}: the kubeconfig's user has no credentials")
        user = _USER.search(problem.text)
        who = f"you, {user[1]}," if user is not None else "you"
        report = self._found.warning if warning else self._found.error
        hint = f"a ClusterRole with the rule {{{rule}}} allows it"
        if warning:
            hint += "; or name serviceCIDRs in the settings"
        report("cluster-forbidden", f"{self._api.host} does not let {who} {what}", None, hint=hint)

    def _report(self, problem: ApiFailure | msgspec.DecodeError, asked: str, answers: str) -> None:
        """``asked`` and ``answers`` name the question; where nobody answers at all, no other will be answered."""
        host, hint = self._api.host, ""
        if isinstance(problem, msgspec.DecodeError) and "truncated" in str(problem):
            message = f"ends its answer too early when {asked}"
        elif isinstance(problem, msgspec.DecodeError):
            message = f"{answers} in a form that is not understood: {one_line(str(problem))}"
            hint = "is this the address of an API server, with no login page before it?"
        elif problem.status == 401:
            self._refused("refuses the credentials: they are wrong or have expired")
        elif problem.status == 200:
            message = f"answers 200 when {asked}, with {problem.text}"
        elif problem.status:
            message = f"answers {problem.status} when {asked}" + (f": {problem.text}" if problem.text else "")
        elif problem.cut:
            message = f"cuts the answer off when {asked}: {problem.text}"
            hint = "is something between you and the API server that ends long answers?"
        else:
            message, hint = f"cannot be read: {problem.text}", "is this the right --context, and is the cluster up?"
        attempts = f" ({problem.attempts} times)" if isinstance(problem, ApiFailure) and problem.attempts > 1 else ""
        self._found.error("cluster-error", f"{host} {message}{attempts}", None, hint=hint)
        if isinstance(problem, ApiFailure) and not problem.status and not problem.cut:
            raise _Stop

    def _refused(self, why: str) -> NoReturn:
        said = f" ({one_line(self._complaints.texts[-1])})" if self._complaints.texts else ""
        hint = "log in again, or name another --context"
        self._found.error("cluster-credentials", f"{self._api.host} {why}{said}", None, hint=hint)
        raise _Stop


def _plain(item: Object, kind: str, version: str) -> dict[str, Any]:
    """``item`` as kubectl writes it, without what is empty and without what nobody reads."""
    containers = _containers(item) if item.metadata.namespace == "kube-system" else []
    item.spec.containers = None
    # Of conditions only a node's readiness is read; others have some, too, and change them all the time.
    conditions = item.status.conditions if kind == "Node" else None
    item.status.conditions = [condition for condition in conditions or () if condition.type == "Ready"] or None
    if item.data is not None:
        item.data = _told(item.data, cilium=item.metadata.name == CILIUM)
    built: dict[str, Any] = msgspec.to_builtins(item)
    built["spec"]["containers"] = containers
    # The API leaves both out of the items of its lists.
    return {**_filled(built), "apiVersion": version, "kind": kind}


def _told(data: dict[str, str], *, cilium: bool) -> dict[str, str]:
    """Of a ConfigMap, which may hold anything, what tells of pods, Services and API servers."""
    if cilium:
        return {key: data[key] for key in ("ipam", *CILIUM_POOLS) if key in data}
    text = data.get("ClusterConfiguration", "")
    lines = [*_ENDPOINT.findall(text), "networking:", *(f"  {line}" for line in _SUBNETS.findall(text))]
    return {"ClusterConfiguration": "".join(f"{line}\n" for line in lines)}


def _containers(item: Object) -> list[dict[str, Any]]:
    """Of the control plane's arguments and variables, which may hold secrets, those that tell CIDRs and addresses."""
    flags = as_arguments(control_plane_flags(item))
    addresses = [{"name": VIP_VARIABLES[0], "value": address} for address in virtual_addresses(item)]
    vips = [{"name": VIP_PROGRAM, "env": [address]} for address in addresses]
    return [*([{"args": flags}] if flags else []), *vips]


def _filled(value: Any) -> Any:
    """``value`` without the entries of mappings that are empty."""
    if isinstance(value, dict):
        # An empty string stays: it is what many labels are.
        return {key: kept for key, item in value.items() if (kept := _filled(item)) not in (None, {}, [])}
    return [_filled(entry) for entry in value] if isinstance(value, list) else value
