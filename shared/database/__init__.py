"""Typed functions over both databases: one module per subject, all SQL in files under sql/.

Functions take a connection and leave the transaction to their caller unless they say otherwise.
"""
