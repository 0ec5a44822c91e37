"""What all tests of trainings have in common."""

import pytest

from tagscale.training import running_loss


@pytest.fixture(autouse=True)
def only_validations_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine would report points between them, which depend on the clock."""
    monkeypatch.setattr(running_loss, "SECONDS", 3600.0)
