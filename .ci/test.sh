#!/usr/bin/env bash
# The whole test run, cheapest first, stopping at the first ring that fails. Called by `make test`, after the set-up.
# Its last line counts every test of every ring: `N passed, N failed, N skipped`.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
collection_reports=collections/ansible_collections/egress/gateway/tests/output/junit
rm -rf build/junit "$collection_reports"

status=0
for ring in lint test-unit test-ansible test-lab test-systemd; do
  printf '\n=== %s\n' "$ring"
  began=$SECONDS
  "${MAKE:-make}" --no-print-directory "$ring"
  status=$?
  printf '=== %s: %s s, exit status %s\n' "$ring" "$((SECONDS - began))" "$status"
  [ "$status" = 0 ] || break
done

echo
[ "$status" = 0 ] || printf 'FAILED in %s; what comes after it did not run\n' "$ring"
.venv/bin/python .ci/summary.py build/junit "$collection_reports" || status=1
exit "$status"
