"""What Kubernetes takes for a name or a label.

Source: kubernetes/apimachinery, pkg/util/validation: IsDNS1123Label, IsDNS1123Subdomain, IsQualifiedName.
"""

from __future__ import annotations

import re

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")

MAX_LABEL = 63
MAX_SUBDOMAIN = 253


def is_label_name(text: str) -> bool:
    """A DNS-1123 label, as namespaces are."""
    return len(text) <= MAX_LABEL and _LABEL.fullmatch(text) is not None


def is_subdomain(text: str) -> bool:
    """A DNS-1123 subdomain, as most objects' names are."""
    return len(text) <= MAX_SUBDOMAIN and _SUBDOMAIN.fullmatch(text) is not None


def bad_prefix(label_key: str) -> bool:
    """Whether the part before the slash is too long; its letters are checked by the schema."""
    prefix, slash, _ = label_key.rpartition("/")
    return bool(slash) and len(prefix) > MAX_SUBDOMAIN
