"""Fixtures shared by all tests; each concern lives in a plugin of its own under tests/fixtures."""

pytest_plugins: tuple[str, ...] = ()
