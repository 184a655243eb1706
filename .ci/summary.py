"""Adds up JUnit reports: `N passed, N failed, N skipped`. Exits 1 when something failed or nothing ran."""

import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def count(report: Path) -> tuple[int, int, int]:
    """Passed, failed (errors too) and skipped test cases of one report."""
    passed = failed = skipped = 0
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - this run has just written it itself
        outcomes = {child.tag for child in case}
        if outcomes & {"failure", "error"}:
            failed += 1
        elif "skipped" in outcomes:
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def main(directories: list[str]) -> int:
    reports = sorted(report for directory in directories for report in Path(directory).glob("*.xml"))
    counts = [count(report) for report in reports]
    passed, failed, skipped = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0, 0)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return int(failed > 0 or passed == 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
