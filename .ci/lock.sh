#!/usr/bin/env bash
# Writes requirements.lock: exact versions with hashes of all runtime and dev dependencies, one set for Python 3.11 to 3.13.
# Versions already in the file stay where pyproject.toml still allows them; --upgrade takes the newest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
uv_version=0.13.9
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip --disable-pip-version-check -qq install "uv==$uv_version"

# --universal: markers instead of this machine's platform. --fork-strategy fewest: one version of each package for all
# Pythons, above all one ansible-core, whose ansible-test judges the collection.
# Neither indexes nor hosts are written, uv's default: where packages come from is the installer's configuration.
"$scratch/venv/bin/uv" pip compile --quiet --no-config \
  --universal --python-version 3.11 --fork-strategy fewest \
  --generate-hashes \
  --custom-compile-command 'make lock' \
  --group dev "$@" --output-file requirements.lock pyproject.toml
printf 'requirements.lock: %s packages\n' "$(grep -c '^[a-z0-9].*==' requirements.lock)"
