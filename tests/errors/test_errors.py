"""Bad input and the text it gets: CASE.yaml, beside it what else the run reads, and CASE.expected."""

from pathlib import Path

import pytest

from tests.errors.cases import CASES, check_golden, report_of


@pytest.mark.parametrize("case", CASES)
def test_case(case: str, update_golden: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parent)
    check_golden(Path(f"{case}.expected"), report_of(case), update_golden)
