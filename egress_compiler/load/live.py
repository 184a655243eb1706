"""A running cluster to a snapshot: through the Kubernetes client, page by page, the few fields that are ever read.

What is read back from a snapshot is what a ``kubectl -o json`` export of the same moment gives: both are decoded by
the same structs.  Finished pods are left out, as the compiler leaves them out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from egress_compiler.diagnostics import Collector, nearest, printable, quoted
from egress_compiler.load.cluster import FINISHED
from egress_compiler.load.cluster_cidrs import POD_FLAG, SERVICE_FLAG
from egress_compiler.load.objects import Container, Object

PAGE = 500
"""Objects a request, as kubectl asks for them."""
TIMEOUT = (10.0, 120.0)
"""Seconds to connect, and to wait for an answer."""
RESTARTS = 3
"""How often a list begins again when it changed so much that its pages have expired."""
FLAGS = (SERVICE_FLAG, POD_FLAG)
_SUBNETS = re.compile(r"^\s*((?:serviceSubnet|podSubnet):.*?)\s*$", re.MULTILINE)

Call = Callable[..., Any]


class Resource(NamedTuple):
    """What is listed.  ``versions`` are API groups with versions, the first that the cluster serves counts."""

    kind: str
    plural: str
    versions: tuple[str, ...]
    namespaced: bool
    optional: bool


RESOURCES = (
    Resource("Node", "nodes", ("v1",), False, False),
    Resource("Pod", "pods", ("v1",), True, False),
    Resource("Namespace", "namespaces", ("v1",), False, False),
    Resource("Service", "services", ("v1",), True, False),
    Resource("ServiceCIDR", "servicecidrs", ("networking.k8s.io/v1", "networking.k8s.io/v1beta1"), False, True),
    Resource("IPPool", "ippools", ("crd.projectcalico.org/v1", "projectcalico.org/v3"), False, True),
)
KUBEADM = ("kube-system", "kubeadm-config")


class _ListMetadata(msgspec.Struct):
    next: str | None = msgspec.field(name="continue", default=None)


class _Page(msgspec.Struct):
    items: list[Object] | None = None
    metadata: _ListMetadata = msgspec.field(default_factory=_ListMetadata)


_page_decoder = msgspec.json.Decoder(_Page)
_object_decoder = msgspec.json.Decoder(Object)


def read_live(kubeconfig: Path | None, context: str | None, found: Collector) -> list[dict[str, Any]]:
    """The cluster's objects, sorted, as plain data; every resource that cannot be read is reported to ``found``."""
    api = _connect(kubeconfig, context, found)
    if api is None:
        return []
    reader = _Reader(api, found)
    objects: list[dict[str, Any]] = []
    for resource in RESOURCES:
        objects += reader.listed(resource)
        if found.failed and reader.unreachable:
            return []
    # The Service CIDRs in kubeadm's configuration count only where there are no ServiceCIDR objects.
    if not any(item["kind"] == "ServiceCIDR" for item in objects):
        objects += reader.kubeadm_config()
    return objects


def snapshot_text(objects: Sequence[dict[str, Any]]) -> str:
    """A List with one object a line, so that a diff of two snapshots names what changed."""
    lines = ",\n".join(f"    {json.dumps(item, sort_keys=True, ensure_ascii=False)}" for item in objects)
    return f'{{\n  "apiVersion": "v1",\n  "kind": "List",\n  "items": [\n{lines}\n  ]\n}}\n'


def _connect(kubeconfig: Path | None, context: str | None, found: Collector) -> Any:
    """A client for the cluster; None where the kubeconfig names none, with the reason reported."""
    # Imported here: the client takes a second, and no other command needs it.
    from kubernetes import client, config

    settings: Any = client.Configuration()
    configure: Any = config
    file = str(kubeconfig) if kubeconfig is not None else None
    try:
        try:
            configure.load_kube_config(config_file=file, context=context, client_configuration=settings)
        except config.ConfigException:
            if file is not None or context is not None:
                raise
            # In a pod, such as a CronJob that keeps a repository's snapshot fresh, there is a service account instead.
            configure.load_incluster_config(client_configuration=settings)
    except Exception as problem:  # the client raises whatever a malformed kubeconfig makes it stumble over
        where = f"{printable(file)}: " if file is not None else ""
        hint = _context_hint(config, file, context) or "name a file with --kubeconfig, or set KUBECONFIG"
        found.error("no-cluster", f"{where}no cluster to read: {_text(problem)}", None, hint=hint)
        return None
    return client.ApiClient(settings)


def _context_hint(config: Any, file: str | None, context: str | None) -> str:
    if context is None:
        return ""
    try:
        names = [str(entry["name"]) for entry in config.list_kube_config_contexts(config_file=file)[0]]
    except Exception:
        return ""
    return nearest(context, names) or f"there are the contexts {', '.join(map(quoted, sorted(names)))}"


class _Reader:
    def __init__(self, api: Any, found: Collector) -> None:
        from kubernetes import client
        from urllib3.exceptions import HTTPError

        self._core: Any = client.CoreV1Api(api)
        self._custom: Any = client.CustomObjectsApi(api)
        self._host = str(api.configuration.host)
        self._api_error: type[Exception] = client.ApiException
        self._http_error: type[Exception] = HTTPError
        self._found = found
        self.unreachable = False

    def listed(self, resource: Resource) -> list[dict[str, Any]]:
        """Every object of ``resource``, sorted; none where it may be missing and is not served."""
        for version in resource.versions:
            items = self._all_pages(resource, version)
            if items is not None:
                kept = [item for item in items if item.status.phase not in FINISHED]
                kept.sort(key=lambda item: (item.metadata.namespace or "", item.metadata.name))
                return [_plain(item, resource.kind, version) for item in kept]
        return []

    def _all_pages(self, resource: Resource, version: str) -> list[Object] | None:
        """None where ``version`` is not served, or something is wrong, which is reported."""
        call = self._call(resource, version)
        for _ in range(RESTARTS):
            try:
                return [item for page in self._pages(call) for item in page]
            except self._api_error as problem:
                status = getattr(problem, "status", 0)
                if status == 410:
                    continue
                if not (status == 404 and resource.optional):
                    self._report(problem, status, "list", resource.plural, version)
                return None
            except (self._http_error, msgspec.DecodeError, OSError) as problem:
                self._report(problem, 0, "list", resource.plural, version)
                return None
        self._found.error("cluster-error", f"the list of {resource.plural} kept expiring while it was read", None)
        return None

    def _call(self, resource: Resource, version: str) -> Call:
        if "/" in version:
            group, _, number = version.partition("/")
            listing: Call = self._custom.list_cluster_custom_object
            return lambda **options: listing(group, number, resource.plural, **options)
        name = f"list_{resource.kind.lower()}" + ("_for_all_namespaces" if resource.namespaced else "")
        listing = getattr(self._core, name)
        return listing

    def _pages(self, call: Call) -> Iterator[list[Object]]:
        options: dict[str, Any] = {}
        while True:
            response = call(limit=PAGE, _preload_content=False, _request_timeout=TIMEOUT, **options)
            page = _page_decoder.decode(response.data)
            yield page.items or []
            if not page.metadata.next:
                return
            options = {"_continue": page.metadata.next}

    def kubeadm_config(self) -> list[dict[str, Any]]:
        """The ConfigMap with kubeadm's networking, where kubeadm made the cluster."""
        namespace, name = KUBEADM
        read: Call = self._core.read_namespaced_config_map
        try:
            response = read(name, namespace, _preload_content=False, _request_timeout=TIMEOUT)
            return [_plain(_object_decoder.decode(response.data), "ConfigMap", "v1")]
        except self._api_error as problem:
            status = getattr(problem, "status", 0)
            if status != 404:
                self._report(problem, status, "get", "configmaps", "v1", f" in the namespace {namespace}")
        except (self._http_error, msgspec.DecodeError, OSError) as problem:
            self._report(problem, 0, "get", "configmaps", "v1")
        return []

    def _report(self, problem: Exception, status: int, verb: str, plural: str, version: str, where: str = "") -> None:
        group = version.partition("/")[0] if "/" in version else ""
        if status == 403:
            rule = f"apiGroups: [{json.dumps(group)}], resources: [{plural}], verbs: [{verb}]"
            self._found.error(
                "cluster-forbidden",
                f"{self._host} does not let you {verb} {plural}{where}",
                None,
                hint=f"a {'Role' if where else 'ClusterRole'} with the rule {{{rule}}} allows it",
            )
            return
        if status == 401:
            self.unreachable = True
            message, hint = "refuses the credentials", "log in again, or name another --context"
        elif status:
            message, hint = f"answers {status} when asked to {verb} {plural}", ""
        elif isinstance(problem, msgspec.DecodeError):
            message, hint = f"lists {plural} in a form that is not understood: {_text(problem)}", ""
        else:
            self.unreachable = True
            message, hint = f"cannot be read: {_text(problem)}", "is this the right --context, and is the cluster up?"
        self._found.error("cluster-error", f"{self._host} {message}", None, hint=hint)


def _text(problem: Exception) -> str:
    """The last and most telling part of an exception's text, on one line."""
    reason = getattr(problem, "reason", None)
    return printable(" ".join(str(reason if isinstance(reason, Exception) else problem).split()))[:300]


def _plain(item: Object, kind: str, version: str) -> dict[str, Any]:
    """``item`` as kubectl writes it, without what is empty and without what nobody reads."""
    flags = _flags(item.spec.containers or ()) if item.metadata.namespace == "kube-system" else []
    item.spec.containers = [Container(args=flags)] if flags else None
    if item.data is not None:
        subnets = _SUBNETS.findall(item.data.get("ClusterConfiguration", ""))
        item.data = {"ClusterConfiguration": "".join(["networking:\n", *(f"  {line}\n" for line in subnets)])}
    built: dict[str, Any] = msgspec.to_builtins(item)
    return {"apiVersion": version, **_filled(built), "kind": kind}


def _flags(containers: Iterable[Container]) -> list[str]:
    """Of the control plane's arguments, which may hold secrets, those that tell the cluster's CIDRs."""
    kept: list[str] = []
    for container in containers:
        words = [*(container.command or ()), *(container.args or ())]
        for word, following in zip(words, [*words[1:], ""], strict=False):
            if word in FLAGS:
                kept.append(f"{word}={following}")
            elif word.startswith(tuple(f"{flag}=" for flag in FLAGS)):
                kept.append(word)
    return kept


def _filled(value: Any) -> Any:
    """``value`` without the entries of mappings that are empty."""
    if isinstance(value, dict):
        # An empty string stays: it is what many labels are.
        return {key: kept for key, item in value.items() if (kept := _filled(item)) not in (None, {}, [])}
    return [_filled(entry) for entry in value] if isinstance(value, list) else value
