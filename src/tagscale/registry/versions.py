"""One registered model in MLflow: its versions, and the two aliases, `champion` (in use) and `challenger` (newest)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.tracking import MlflowClient

from tagscale.models.pretrained import ENCODERS, model_name
from tagscale.registry.turn import one_writer
from tagscale.runtime.errors import TagscaleError
from tagscale.tracking import connect, database_of, explained, registry_uri, shown

CHAMPION, CHALLENGER = "champion", "challenger"


class NoSuchModel(TagscaleError):
    """The registry answers and has no registered model of that name."""


@dataclass(frozen=True)
class Version:
    """One version of a registered model; its tags carry the run's identity, its metrics and the gate's decision."""

    name: str
    number: str
    run_id: str
    tags: dict[str, str]

    @property
    def test_metrics(self) -> dict[str, float]:
        """Its metrics on the test part: {"pr_auc": 0.41, ...}, without those that could not be computed."""
        prefix = "tagscale.test."
        return {key.removeprefix(prefix): float(self.tags[key]) for key in self.tags if key.startswith(prefix)}


@dataclass(frozen=True)
class Registry:
    """A registered model that exists in MLflow's current store."""

    name: str
    client: MlflowClient = field(repr=False)

    @classmethod
    def open(cls, name: str) -> "Registry":
        """The registered model of that name.

        Reading creates no store: a missing local database is a registry without models.

        Raises:
            NoSuchModel: names the models that exist.
            TagscaleError: the store is out of reach (names its address).
        """
        uri = registry_uri()
        if (database := database_of(uri)) and not database.exists():
            raise _no_model(name, uri, [])
        client = connect()
        with explained(uri):
            try:
                client.get_registered_model(name)
            except MlflowException as error:
                if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                    raise
                raise _no_model(name, uri, [model.name for model in client.search_registered_models()]) from None
        return cls(name, client)

    @classmethod
    def open_or_create(cls, name: str, description: str) -> "Registry":
        """The registered model of that name; a new one with that description if it is missing."""
        client = connect()
        with explained(client.tracking_uri):
            if not any(model.name == name for model in client.search_registered_models(f"name = '{name}'")):
                try:
                    client.create_registered_model(name, description=description)
                except MlflowException as error:  # another process may be first
                    if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                        raise
        return cls(name, client)

    @contextmanager
    def one_writer(self) -> Iterator[None]:
        """Wait for the turn to write, and hold it while the block runs (see `tagscale.registry.turn`)."""
        with self.explained(), one_writer(self.client, self.name):
            yield

    def versions(self) -> dict[str, Version]:
        """All versions by their number, oldest first."""
        with self.explained():
            versions = self.client.search_model_versions(f"name = '{self.name}'", max_results=10_000)
        return {
            str(version.version): Version(self.name, str(version.version), str(version.run_id), dict(version.tags))
            for version in sorted(versions, key=lambda version: int(version.version))
        }

    def find(self, marks: Mapping[str, str]) -> Version | None:
        """The oldest version that carries all these tags."""
        return next((one for one in self.versions().values() if marks.items() <= one.tags.items()), None)

    def version(self, which: str | int) -> Version:
        """The version of that number, or the holder of that alias.

        Raises:
            TagscaleError: no such version or alias; names those that exist.
        """
        which = str(which)
        number = which if which.isdigit() else self.aliases().get(which, which)
        versions = self.versions()
        if number in versions:
            return versions[number]
        if which == CHAMPION:
            raise TagscaleError(
                f"Model {self.name!r} has no champion. `tagscale register` registers the best run, `tagscale promote "
                f"VERSION` makes a version champion (there: {_numbers(versions)}), and `tagscale rollback` the last "
                "champion again."
            )
        raise TagscaleError(f"Model {self.name!r} has no version {which!r}; there: {_numbers(versions)}.")

    def holder(self, alias: str) -> Version | None:
        """The version that holds the alias, if one does."""
        number = self.aliases().get(alias)
        return self.version(number) if number else None

    def aliases(self) -> dict[str, str]:
        """Alias -> number of the version that holds it."""
        with self.explained():
            aliases = self.client.get_registered_model(self.name).aliases
        return {alias: str(number) for alias, number in aliases.items()}

    def set_alias(self, alias: str, version: str) -> None:
        """Move an alias to a version. A version that becomes champion loses the alias `challenger`."""
        with self.explained():
            self.client.set_registered_model_alias(self.name, alias, version)
            if alias == CHAMPION and self.aliases().get(CHALLENGER) == version:
                self.client.delete_registered_model_alias(self.name, CHALLENGER)

    def tag(self, version: str, tags: Mapping[str, str]) -> None:
        """Add tags to a version."""
        with self.explained():
            for key, value in tags.items():
                self.client.set_model_version_tag(self.name, version, key, value)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what MLflow raises inside the block into a TagscaleError."""
        with explained(self.client.tracking_uri):
            yield


def _no_model(name: str, uri: str, known: Sequence[str]) -> NoSuchModel:
    return NoSuchModel(
        f"No model {name!r} in the registry at {shown(uri)} (there: {', '.join(known) or 'none'}). `tagscale register` "
        "registers the best run of a finished study, which `dvc repro` makes; or set registry.name in params.yaml. "
        f"Published taggers are {', '.join(map(model_name, ENCODERS))}."
    )


def _numbers(versions: Mapping[str, Version]) -> str:
    return ", ".join(versions) or "no version at all"
