# Copyright: (c) 2026, The egress-compiler authors
# SPDX-License-Identifier: Apache-2.0 OR GPL-3.0-or-later
# Apache License 2.0 or GNU General Public License v3.0+ at your choice (see LICENSES/)
"""What compiler and node agree on: numbers, names, the plan, and how the kernel's objects are spelled.

The collection carries a copy of this package, which a test holds equal: Python 3.9, standard library alone.
"""
