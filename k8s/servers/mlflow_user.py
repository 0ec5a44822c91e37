"""The MLflow user that tasks and the champion log in with: made, or given the password that its secret has now.

Runs before the server does, on the database of users that basic_auth.ini names. The user is no administrator: it
may make experiments and models, and manage those that it made.
"""

import os

from mlflow.server.auth.config import read_auth_config
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore


def main() -> None:
    name, password = os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]
    store = SqlAlchemyStore()
    store.init_db(read_auth_config().database_uri)
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
