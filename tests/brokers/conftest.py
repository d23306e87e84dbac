"""Asserts of the shared conformance suite explain themselves like those of any test."""

import pytest

pytest.register_assert_rewrite("tests.brokers.contract")
