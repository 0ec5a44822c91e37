"""Writers of a registered model take turns, so that two promotions at once are two in a row and none is lost.

A local store has a lock file beside its database. A server has nothing to lock. There a writer claims its turn with a
tag of the registered model, and reads the tags again: the turn is its own only where no other claim is there. Two
writers that claim together both see both claims, withdraw, and try again after random pauses.
"""

import os
import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4

from mlflow.tracking import MlflowClient

from tagscale.runtime.lock import in_turn
from tagscale.runtime.provenance import user
from tagscale.tracking import database_of, registry_uri

CLAIM = "tagscale.writer."  # tags of the registered model
LONGEST_TURN_SECONDS = 60.0  # a turn takes a few requests; a claim that stays longer is one of a killed process
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 0.5


@contextmanager
def one_writer(client: MlflowClient, name: str) -> Iterator[None]:
    """Wait for the turn to write to a registered model and hold it while the block runs. Turns do not nest."""
    if database := database_of(registry_uri()):
        with in_turn(database.with_name(f"{database.name}.registry.lock")):
            yield
        return
    own = f"{CLAIM}{uuid4().hex}"
    try:
        _claim(client, name, own)
        yield
    finally:
        with suppress(Exception):  # the claim of a process that cannot reach the server any more ends by itself
            client.delete_registered_model_tag(name, own)


def _claim(client: MlflowClient, name: str, own: str) -> None:
    holder = f"process {os.getpid()} of {user()} on {socket.gethostname()}"
    since: dict[str, float] = {}  # when each claim of others was seen first
    while True:
        others = _claims(client, name)
        now = time.monotonic()
        since = {key: since.get(key, now) for key in others}
        for key in [key for key in others if now - since[key] > LONGEST_TURN_SECONDS]:
            print(f"warning: {others[key]} did not end its change of {name}. Its claim is removed.", flush=True)
            client.delete_registered_model_tag(name, key)
        if not others:
            client.set_registered_model_tag(name, own, holder)
            if _claims(client, name).keys() == {own}:
                return
            client.delete_registered_model_tag(name, own)
        time.sleep(random.uniform(_SHORTEST_PAUSE, _LONGEST_PAUSE))


def _claims(client: MlflowClient, name: str) -> dict[str, str]:
    """The present claims: tag -> who holds it."""
    tags = client.get_registered_model(name).tags
    return {key: holder for key, holder in tags.items() if key.startswith(CLAIM)}
