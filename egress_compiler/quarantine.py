"""Objects with errors keep their last good state, so that one tenant's mistake does not stop everybody's compile.

The lock file remembers what was good of every object (its section ``good``).  The stages up to the allocation run as
ever; objects that they find errors in are put back to what the lock file has, or left out where it has nothing, and the
stages run again, until there is no error left.  Of several objects that only together are wrong, the one gives way that
is not what it was.  An error that no object has changed to make, such as one of the cluster's, stays an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from egress_compiler.diagnostics import Collector, Diagnostic, InvalidInput, Related, Severity, in_order
from egress_compiler.document import Document
from egress_compiler.model.lock import Lock
from egress_compiler.model.policy import Ref
from egress_compiler.source import Position
from egress_compiler.validate.objects import object_ref
from egress_compiler.validate.schemas import KINDS

Value = TypeVar("Value")
Stages = Callable[[Sequence[Document], Collector], Value]
_OF_API_SERVER = "kubectl.kubernetes.io/"
_KEPT = "its last good state stays in force"
_LEFT_OUT = "it was never good, and is left out: it governs nothing"
_MEND = "mend what is wrong with it, or delete it"
_UNREAD = "it may stand in what could not be read: mend that"
_TOGETHER = "the objects that have changed are wrong together: mend or delete the one that is"
_IN_USE = "delete the policies that use it first"
_WITHOUT_GATEWAY = frozenset({"unknown-gateway", "no-gateway"})


def good_states(documents: Iterable[Document]) -> dict[str, Document]:
    """What the lock file is to remember of ``documents``, which are without errors."""
    return {str(ref): document.with_data(_state(document)) for document in documents if (ref := _ref(document))}


def hold_back(
    documents: Sequence[Document], read: Collector, lock: Lock, found: Collector, stages: Stages[Value]
) -> tuple[Value, tuple[Document, ...], tuple[str, ...], Collector]:
    """What ``stages`` make of ``documents``, those with errors held back.

    ``read`` has what was found while the documents were read, ``found`` all else so far.  Gives also the documents that
    are in force, the names of those held back, or where none is of the files that nobody can read, and all diagnostics,
    none of them an error.  Raises InvalidInput where there are errors that holding back does not mend.
    """
    quarantine = _Quarantine(documents, lock)
    quarantine.unreadable([d for d in read.found if d.severity is Severity.ERROR])
    base = found.copy()
    base.add(d for d in read.found if d.severity is Severity.WARNING)
    while not quarantine.refusals:
        attempt = base.copy()
        try:
            value = stages(quarantine.documents, attempt)
        except InvalidInput:
            if not quarantine.hold([d for d in attempt.found if d.severity is Severity.ERROR]):
                base = attempt
                break
        else:
            attempt.add(quarantine.warnings())
            return value, tuple(quarantine.documents), quarantine.names(), attempt
    errors = {replace(d, severity=Severity.WARNING) for d in (*base.found, *quarantine.refusals)}
    held = (warning for warning in quarantine.warnings() if warning not in errors)
    raise InvalidInput(in_order([*base.found, *held, *quarantine.refusals]))


def _ref(document: Document) -> Ref | None:
    """The object's name, where it has one of a kind that users write."""
    kind = document.data.get("kind") if isinstance(document.data, dict) else None
    ref = object_ref(document) if isinstance(kind, str) and kind in KINDS else None
    return ref if ref is not None and ref.name else None


def _state(document: Document) -> Any:
    """The object without what others than its author write on it."""
    data: Any = document.data
    given = data.get("metadata")
    metadata = {key: given[key] for key in ("name", "namespace", "uid") if key in given}
    annotations = given.get("annotations")
    if isinstance(annotations, dict):
        kept = {key: value for key, value in sorted(annotations.items()) if not key.startswith(_OF_API_SERVER)}
        metadata |= {"annotations": kept} if kept else {}
    return {
        "apiVersion": data.get("apiVersion"),
        "kind": data["kind"],
        "metadata": metadata,
        **({"spec": data["spec"]} if "spec" in data else {}),
    }


class _Held(NamedTuple):
    """An object that is held back; ``hint`` says what ends it, ``errors`` are its own."""

    hint: str
    errors: list[Diagnostic]


class _Index:
    """Documents by place and by name."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self._by_file: dict[str, list[Document]] = {}
        self._by_ref: dict[Ref, list[Document]] = {}
        for document in documents:
            self._by_file.setdefault(document.source.name, []).append(document)
            if (ref := _ref(document)) is not None:
                self._by_ref.setdefault(ref, []).append(document)

    @property
    def refs(self) -> tuple[Ref, ...]:
        return tuple(sorted(self._by_ref))

    def named(self, ref: Ref) -> Sequence[Document]:
        return self._by_ref[ref]

    def at(self, position: Position | None) -> Document | None:
        """The one that ``position`` is a place in."""
        if position is None:
            return None
        return next((d for d in self._by_file.get(position.source.name, ()) if d.covers(position)), None)


class _Quarantine:
    """``documents`` are what is in force so far; ``held`` are the objects that are not as the input has them."""

    def __init__(self, documents: Sequence[Document], lock: Lock) -> None:
        self.documents = [*documents]
        self.held: dict[Ref, _Held] = {}
        self.refusals: list[Diagnostic] = []
        """Errors about what cannot be held back."""
        self._stray: list[Diagnostic] = []
        self._lock = lock

    def unreadable(self, errors: Sequence[Diagnostic]) -> None:
        """What was found wrong while reading: an object where it can be told which, else its whole file."""
        before, files = _Index(self.documents), set()
        for error in errors:
            document = before.at(error.position)
            ref = _ref(document) if document is not None else None
            if ref is not None:
                self._hold(ref, _MEND, error)
            elif error.position is not None:
                files.add(error.position.source.name)
                self._stray.append(error)
            else:
                self.refusals.append(error)
        if files:
            self._absent([document for document in self.documents if document.source.name in files])

    def hold(self, errors: Sequence[Diagnostic]) -> bool:
        """Whether something was held back that was not before."""
        before, count = _Index(self.documents), (len(self.held), len(self._stray))
        for error in errors:
            documents = [before.at(place) for place in (error.position, *(r.position for r in error.related))]
            refs = [ref for document in documents if document is not None and (ref := _ref(document)) is not None]
            guilty = next((ref for ref in refs if self._changed(before.named(ref))), None)
            if guilty is not None:
                self._hold(guilty, _MEND, error)
            elif refs and error.code in _WITHOUT_GATEWAY:
                self._bring_back_gateway(refs[0], error)
            elif not refs and documents[0] is not None:
                self._stray.append(error)
                self._absent([documents[0]])
        if (len(self.held), len(self._stray)) == count:
            changed = [ref for ref in before.refs if self._changed(before.named(ref))]
            self._stray += errors if changed else ()
            for ref in changed:
                self._hold(ref, _TOGETHER)
        return (len(self.held), len(self._stray)) != count and not self.refusals

    def _absent(self, unread: Sequence[Document]) -> None:
        """Of what ``unread`` is, and of what is not in the input, the last good state stays: it may stand in there."""
        for ref in sorted({ref for document in unread if (ref := _ref(document))}):
            self._hold(ref, _UNREAD)
        self.documents = [document for document in self.documents if document not in unread]
        there = {_ref(document) for document in self.documents}
        for document in self._lock.good.values():
            ref = _ref(document)
            if ref is not None and ref not in there:
                self._hold(ref, _UNREAD)

    def _changed(self, now: Sequence[Document]) -> bool:
        """Whether the object in force is another than the last good one; more than one of a name are."""
        good = self._lock.good.get(str(_ref(now[0])))
        return good is None or len(now) > 1 or _state(now[0]) != good.data

    def _hold(self, ref: Ref, hint: str, error: Diagnostic | None = None) -> None:
        held = self.held.setdefault(ref, _Held(hint, []))
        if error is not None:
            held.errors.append(error)
        self.documents = [document for document in self.documents if _ref(document) != ref]
        good = self._lock.good.get(str(ref))
        if good is not None:
            self.documents.append(good)
        elif self._in_force(ref):
            del self.held[ref]
            refusal = Collector()
            refusal.add([error] if error is not None else [])
            refusal.error(
                "no-good-state",
                f"{ref} has errors, and the lock file does not have its last good state",
                error.position if error is not None else None,
                hint="mend it; a run with --quarantine and without errors remembers every object",
            )
            self.refusals += refusal.found

    def _in_force(self, ref: Ref) -> bool:
        """Whether leaving it out would change what people rely on."""
        if ref.kind == "EgressClusterInfo":
            return not self._lock.good
        if ref.kind == "EgressGateway":
            in_use = {policy.gateway for policy in self._lock.policies.values()}
            return ref.name in in_use or ref.name in self._lock.gateways
        return str(ref) in self._lock.policies

    def _bring_back_gateway(self, policy: Ref, error: Diagnostic) -> None:
        """A gateway that was taken away although policies that are as they were use it."""
        known = self._lock.policies.get(str(policy))
        gateway = Ref("EgressGateway", "", known.gateway) if known is not None else None
        if gateway is not None and str(gateway) in self._lock.good:
            self._hold(gateway, _IN_USE, error)

    def names(self) -> tuple[str, ...]:
        """Of what is not in force as the input has it: objects, or else files that may hold new ones."""
        files = {error.position.source.name for error in self._stray if error.position is not None}
        return tuple(map(str, sorted(self.held))) or tuple(sorted(files))

    def warnings(self) -> tuple[Diagnostic, ...]:
        """The errors of what is held back, and for each object what became of it."""
        told = Collector()
        for ref, held in self.held.items():
            good = self._lock.good.get(str(ref))
            told.warning(
                "quarantined",
                f"{ref} is quarantined: " + (_KEPT if good is not None else _LEFT_OUT),
                next((error.position for error in held.errors), None),
                hint=held.hint,
                related=(Related("its last good state", good.at()),) if good is not None else (),
            )
        errors = [error for held in self.held.values() for error in held.errors]
        told.add(replace(error, severity=Severity.WARNING) for error in (*errors, *self._stray))
        return told.found
