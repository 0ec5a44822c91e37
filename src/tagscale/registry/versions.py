"""One registered model in MLflow: its versions, and the two aliases, `champion` (in use) and `challenger` (newest)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.tracking import MlflowClient

from tagscale.errors import TagscaleError
from tagscale.tracking import connect, explained

CHAMPION, CHALLENGER = "champion", "challenger"


@dataclass(frozen=True)
class Registry:
    """A registered model that exists, in the store in force."""

    name: str
    client: MlflowClient = field(repr=False)

    @classmethod
    def open(cls, name: str) -> "Registry":
        """The registered model of that name. Raises TagscaleError naming those that exist, or the store's address."""
        client = connect()
        with explained(client.tracking_uri):
            try:
                client.get_registered_model(name)
            except MlflowException as error:
                if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                    raise
                known = ", ".join(model.name for model in client.search_registered_models()) or "none"
                raise TagscaleError(
                    f"No model {name!r} in the registry at {client.tracking_uri} (there: {known}). "
                    "Register one with `make run`, or set registry.name in params.yaml."
                ) from None
        return cls(name, client)

    @classmethod
    def made(cls, name: str, description: str) -> "Registry":
        """As `open`, and made with that description where it does not exist."""
        client = connect()
        with explained(client.tracking_uri):
            if not any(model.name == name for model in client.search_registered_models(f"name = '{name}'")):
                client.create_registered_model(name, description=description)
        return cls(name, client)

    def versions(self) -> list[ModelVersion]:
        """All versions, oldest first."""
        with self.explained():
            found = self.client.search_model_versions(f"name = '{self.name}'", max_results=10_000)
        return sorted(found, key=lambda version: int(version.version))

    def version(self, which: str | int) -> ModelVersion:
        """The version of that number, or the holder of that alias.

        Raises:
            TagscaleError: no such version or alias; names those that exist.
        """
        which = str(which)
        number = self.aliases().get(which, which)
        versions = {str(version.version): version for version in self.versions()}
        if number in versions:
            return versions[number]
        if which == CHAMPION:
            raise TagscaleError(
                f"Model {self.name!r} has no champion yet. `make run` registers one, and `tagscale promote VERSION` "
                f"makes a version champion (there: {_listed(versions)})."
            )
        raise TagscaleError(f"Model {self.name!r} has no version {which!r}; there: {_listed(versions)}.")

    def holder(self, alias: str) -> ModelVersion | None:
        """The version that holds the alias, if one does."""
        return self.version(alias) if alias in self.aliases() else None

    def aliases(self) -> dict[str, str]:
        """Alias -> number of the version that holds it."""
        with self.explained():
            aliases = self.client.get_registered_model(self.name).aliases
        return {alias: str(number) for alias, number in aliases.items()}

    def give(self, alias: str, version: str) -> None:
        """Move an alias to a version; a champion is nobody's challenger."""
        with self.explained():
            self.client.set_registered_model_alias(self.name, alias, version)
            if alias == CHAMPION and self.aliases().get(CHALLENGER) == version:
                self.client.delete_registered_model_alias(self.name, CHALLENGER)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what MLflow raises inside the block into a TagscaleError."""
        with explained(self.client.tracking_uri):
            yield


def metrics_on_test(version: ModelVersion) -> dict[str, float]:
    """The metrics on the test part that a version carries in its tags: {"pr_auc": 0.41, ...}."""
    prefix = "tagscale.test."
    return {key.removeprefix(prefix): float(value) for key, value in version.tags.items() if key.startswith(prefix)}


def _listed(versions: dict[str, ModelVersion]) -> str:
    return ", ".join(versions) or "no version at all"
