"""A registry with two versions, for the tests of rollouts."""

import pytest

from registry.tiny import empty_store
from tagscale.registry.promote import promote
from tagscale.registry.versions import Registry

MODEL = "tagscale-tagger"


@pytest.fixture(scope="session")
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of a registry with two versions, of which the second is champion."""
    uri = f"sqlite:///{empty_store(request.config, tmp_path_factory.mktemp('registry'))}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        model = Registry.open_or_create(MODEL, "for tests")
        for _ in range(2):
            model.client.create_model_version(MODEL, source="file:///elsewhere")
        promote(MODEL, 2, "by hand", force=True)
    return uri
