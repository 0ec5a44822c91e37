"""The MLflow store of a test, for the tests of tracking."""

from registry.tiny import store

__all__ = ["store"]
