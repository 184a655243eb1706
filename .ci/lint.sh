#!/usr/bin/env bash
# Every linter, quick ones first; all of them run, so that one push meets all complaints at once.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
bin=$PWD/.venv/bin
PATH=$bin:$PATH
failed=()

check() {
  local name=$1
  shift
  printf -- '--- %s\n' "$name"
  "$@" </dev/null || failed+=("$name")
}

mapfile -t shell_files < <(
  find . \( -name .git -o -name .venv -o -name build -o -name output \) -prune -o -type f \( -name '*.sh' -o -path './.ci/run' \) -print | sort
)

check "ruff check" ruff check --quiet .
check "ruff format" ruff format --quiet --check --diff .
check "import contracts" lint-imports --no-logo --config pyproject.toml
check "mypy" mypy
if command -v shellcheck >/dev/null; then
  check "shellcheck" shellcheck "${shell_files[@]}"
else
  printf -- '--- shellcheck: not installed, skipped\n'
fi
# No part of .venv, for it brings a dozen packages; whoever makes a release has it.
if command -v antsibull-changelog >/dev/null; then
  check "changelog" env -C collections/ansible_collections/egress/gateway antsibull-changelog lint
fi
# Named paths, as it would take examples and golden trees for playbooks. Nothing is fetched (--offline), and nothing of
# what it writes lands in the user's home.
check "ansible-lint" env ANSIBLE_COLLECTIONS_PATH="$PWD/collections" ANSIBLE_HOME="$PWD/build/ansible-home" \
  ansible-lint --offline --strict --nocolor -q playbooks collections/ansible_collections/egress/gateway

if [ "${#failed[@]}" -gt 0 ]; then
  printf 'lint: failed: %s\n' "$(printf '%s, ' "${failed[@]}" | sed 's/, $//')"
  exit 1
fi
printf 'lint: clean\n'
