"""Asserts of the shared conformance suite explain themselves like those of any test."""

import pytest

pytest.register_assert_rewrite(
    "tests.brokers.contract",
    "tests.brokers.contract_failures",
    "tests.brokers.contract_lives",
    "tests.brokers.contract_venue",
)
