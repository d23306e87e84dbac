"""Plays sessions through the same entry points as a real day: generated or recorded, on paper."""
