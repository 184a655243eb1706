#!/usr/bin/env bash
# ansible-test for the collection: sanity (all tests, on this machine, no container), then units, then integration.
#
#   .ci/ansible-test.sh [sanity|units|integration] [arguments of ansible-test]      without: all
#
# ansible-test keeps its own small environments, one a sanity test, with packages that it pins itself. They live below
# .venv, so that `make clean` takes them away; the first run spends some 50 s on them, later ones 20 s in all.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
collection=$root/collections/ansible_collections/egress/gateway
home=$root/.venv/ansible-test
version=$("$root/.venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')

# A home of its own, for three reasons that all come from ansible-test passing on nothing but HOME and PATH:
# 1. for pip it would fetch a script from a host of its own, which closed networks do not reach; .venv has a pip to copy;
mkdir -p "$home/.ansible/test/cache" "$home/.config/pip" "$home/bin"
cat >"$home/.ansible/test/cache/get_pip_24_2.py" <<'PYTHON'
import shutil
import sysconfig
from pathlib import Path

venv = Path(__file__).resolve().parents[4]
for part in venv.glob("lib/python3.*/site-packages/pip*"):
    if part.name == "pip" or part.match("pip-*.dist-info"):
        shutil.copytree(part, Path(sysconfig.get_path("purelib"), part.name))
PYTHON
# 2. pip must still see how this machine reaches its packages: the user's own files, and PIP_* variables, first answer wins;
(
  printf '[global]\nquiet = 2\n'
  "$root/.venv/bin/python" -m pip config list |
    sed -nE "s/^(:env:|global|install)\.([a-z-]+)='(.*)'$/\2 = \3/p" | sed 's/\\n/ /g' | awk -F ' = ' '!seen[$1]++'
) >"$home/.config/pip/pip.conf"
chmod 600 "$home/.config/pip/pip.conf" # addresses may hold passwords
# 3. git refuses to list a clone that another user owns.
printf '[safe]\n\tdirectory = *\n' >"$home/.gitconfig"

# ansible-test tries every python3.N on PATH. A version manager's shims exist and refuse to run, so it gets the system's
# directories only, with links to the two that count: this environment's, and the nodes' oldest (3.9) where one is found.
rm -f "$home/bin"/*
for candidate in python3.9 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.9.*/bin/python3.9; do
  if real=$("$candidate" -c 'import ensurepip, sys; print(sys.executable)' 2>/dev/null); then
    ln -sf "$real" "$home/bin/python3.9"
    break
  fi
done
path=$root/.venv/bin:$home/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

ansible_test() { (cd "$collection" && env HOME="$home" PATH="$path" ansible-test "$@" --color no </dev/null); }

# What it says about its environments, the locale and Pythons that are not here says nothing about the collection.
quiet() { grep -vE '^(Installing requirements|Using cached pip) |^WARNING: (Using locale|Skipping .* because it could not be found|Reviewing)' || true; }

sanity() {
  # All of them: pslint, which would need PowerShell, passes over a collection without *.ps1 files.
  ansible_test sanity --local "$@" 2>&1 | quiet
}

units() {
  # Only on this environment's Python: it has pytest, others on this machine may not.
  ansible_test units --local --python "$version" "$@" 2>&1 | quiet
}

integration() {
  # The targets change nothing of this machine; those that need root are skipped without it.
  ansible_test integration --local --python "$version" "$@" 2>&1 | quiet
}

case ${1:-all} in
  sanity | units | integration) "$@" ;;
  all)
    sanity "$@"
    units "$@"
    integration "$@"
    ;;
  *)
    echo "usage: $0 [sanity|units|integration] [arguments of ansible-test]" >&2
    exit 64
    ;;
esac
