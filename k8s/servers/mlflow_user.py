"""The MLflow users that tasks and the champion log in with: made, or given the passwords that their secrets have now.

Runs before the server does, on the database of users that basic_auth.ini names. The users are no administrators: each
may make experiments and models, manage those that it made, and read all others. The champion's makes none.
"""

import os

from mlflow.server.auth.config import read_auth_config
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore


def main() -> None:
    store = SqlAlchemyStore()
    store.init_db(read_auth_config().database_uri)
    for whose in ("CLIENT", "READER"):
        _provide(store, os.environ[f"{whose}_USERNAME"], os.environ[f"{whose}_PASSWORD"])


def _provide(store: SqlAlchemyStore, name: str, password: str) -> None:
    if not store.has_user(name):
        store.create_user(name, password)
        print(f"user {name}: made")
    elif not store.authenticate_user(name, password):
        store.update_user(name, password=password)
        print(f"user {name}: password renewed")
    else:
        print(f"user {name}: as it was")


if __name__ == "__main__":
    main()
