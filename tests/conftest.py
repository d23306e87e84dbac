"""Fixtures shared by all tests; each concern lives in a plugin of its own under tests/fixtures."""

pytest_plugins: tuple[str, ...] = (
    "tests.fixtures.alpaca",
    "tests.fixtures.databases",
    "tests.fixtures.faults",
    "tests.fixtures.mail",
    "tests.fixtures.market_data",
    "tests.fixtures.messages_api",
    "tests.fixtures.network",
    "tests.fixtures.opend",
    "tests.fixtures.postgres",
    "tests.fixtures.rehearsal",
    "tests.fixtures.retries",
    "tests.fixtures.operate",  # imports the ones above, so they have to be registered first
    "tests.fixtures.care",
    "tests.fixtures.dev_claude",
    "tests.fixtures.intl_claude",
)
