# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What keeps the follower from the cluster's API. Each message is one line of printable text for an operator."""

from __future__ import annotations

_SHOWN = 300
"""Characters of somebody else's text in a message."""


class FollowError(Exception):
    """Any of them. All are worth trying again: files get written, servers come back, rights are given."""


class KubeconfigError(FollowError):
    """The kubeconfig, or a file that it names, is not usable; with file and line."""


class CredentialError(FollowError):
    """A credential plugin did not give what it should."""


class ApiError(FollowError):
    """The API server, or what stands before it."""


class Unreachable(ApiError):
    """No answer: no connection, one that broke, or nothing within the time."""


class Silent(Unreachable):
    """A connection that stands, and nothing whole comes over it within the time."""


class Untrusted(ApiError):
    """The server's certificate does not hold against the kubeconfig's authority and name."""


class Malformed(ApiError):
    """An answer that no API server gives."""


class WentBack(ApiError):
    """The server's versions are lower than they were: it has another history, such as an older backup's."""


class Refused(ApiError):
    """A status that says no, and no class below does it more precisely. ``code`` is HTTP's."""

    def __init__(self, message: str, code: int, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after
        """Seconds that the server asks to be left alone for; None if it does not."""


class Gone(Refused):
    """410: the version or continue token is no longer known."""


class AheadOfServer(Refused):
    """A version that the server has not reached: it lags behind, or has another history."""


class Unauthorized(Refused):
    """401: the credential is not, or no longer, accepted."""


class Forbidden(Refused):
    """403: the credential lacks a right."""


class TooMany(Refused):
    """429."""


class ServerTrouble(Refused):
    """5xx."""


def printable(text: str) -> str:
    """Somebody else's text, fit for one line of a log."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * _SHOWN]).split())
    return line if len(line) <= _SHOWN else line[:_SHOWN] + "..."
