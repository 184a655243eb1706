# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""The node's system log, for what runs without anybody who reads its output."""

from __future__ import annotations

import syslog

ERROR, WARNING, INFO = syslog.LOG_ERR, syslog.LOG_WARNING, syslog.LOG_INFO


def log(level: int, text: str) -> None:
    syslog.openlog("egress-gateway")
    syslog.syslog(level, text)
