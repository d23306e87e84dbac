"""The matrix of faults is whole."""

from collections import Counter

from tests.faults.cases import REQUIRED, declared_cases


def test_every_required_case_has_exactly_one_test() -> None:
    counted = Counter(declared.id for _, declared in declared_cases())

    assert counted == Counter(REQUIRED)


def test_the_name_of_a_test_begins_with_its_case() -> None:
    for node, declared in declared_cases():
        assert f"::test_{declared.id.lower()}_" in node
