"""The model registry: from a trained run to a version, past the gate, to the champion that tags files."""

import tagscale.runtime.mlflow_env  # noqa: F401 (before anything here imports mlflow)
