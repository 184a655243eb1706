"""What plain YAML scalars mean: text, unless one of these says otherwise."""

from __future__ import annotations

import re

from egress_compiler.document import Plain

INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,39})\Z")
ODD_INT = re.compile(r"[-+]?(0[0-9_]+|0o[0-7]+|0x[0-9a-fA-F_]+|0b[01_]+|[1-9][0-9]*_[0-9_]*)\Z")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z|[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")
_TRUE = frozenset({"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y"})
_FALSE = frozenset({"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N"})
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
WORDS: dict[str, Plain] = dict.fromkeys(_TRUE, True) | dict.fromkeys(_FALSE, False) | dict.fromkeys(_NULL, None)
"""What the YAML 1.1 of kubectl takes for something else than text."""
MAYBE_NUMBER = frozenset("+-.0123456789")
