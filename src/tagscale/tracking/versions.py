"""The files of a version in MLflow's registry of models, by the address that MLflow gives it."""

import re
from pathlib import Path

import mlflow.artifacts
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.tracking import MlflowClient

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.mlflow_env import TAGGER
from tagscale.tracking.local import database_of
from tagscale.tracking.server import connect, explained, registry_uri, shown

SCHEME = "models:/"
_ADDRESS = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<number>\d+))")
_UNKNOWN = {ErrorCode.Name(code) for code in (RESOURCE_DOES_NOT_EXIST, INVALID_PARAMETER_VALUE)}


def download_version(address: str, folder: Path) -> Path:
    """The tagger's files of a registered version: downloaded to `folder`, or in place if they are on this machine.

    Args:
        address: models:/NAME@ALIAS or models:/NAME/VERSION
    Raises:
        TagscaleError: no such address, model or version; the registry or the files are out of reach.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise TagscaleError(f"{address}: expected {SCHEME}NAME@ALIAS or {SCHEME}NAME/VERSION.")
    uri = registry_uri()
    if (database := database_of(uri)) and not database.exists():
        raise TagscaleError(f"{address}: there is no registry at {shown(uri)} yet; `tagscale register` makes one.")
    client = connect()
    with explained(uri):
        try:
            number = match["number"] or client.get_model_version_by_alias(match["name"], match["alias"]).version
            client.get_model_version(match["name"], str(number))
        except MlflowException as error:
            if error.error_code not in _UNKNOWN:
                raise
            raise TagscaleError(
                f"{address}: the registry at {shown(uri)} has no such version. `tagscale history` lists "
                "the versions of registry.name."
            ) from None
    return version_files(client, match["name"], str(number), folder)


def version_files(client: MlflowClient, name: str, number: str, folder: Path, part: str = TAGGER) -> Path:
    """The tagger's files of a version that exists, or another part of its package.

    Raises:
        TagscaleError: they are out of reach.
    """
    with explained(client.tracking_uri):
        address = client.get_model_version_download_uri(name, number)
    try:
        uri = f"{address}/{part}"
        return Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder), tracking_uri=client.tracking_uri))
    except Exception as error:  # each kind of artifact store has its own
        raise TagscaleError(
            f"Version {number} of {name!r}: its files cannot be read at {address} ({error}). If they "
            "were moved or deleted, promote another version; else check the access to that place."
        ) from error
