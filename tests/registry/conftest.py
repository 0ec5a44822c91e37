"""The MLflow store of a test, for the tests of the registry."""

from registry.tiny import store

__all__ = ["store"]
