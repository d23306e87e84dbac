"""Brokers: one protocol, and one adapter for each account that can be traded."""
