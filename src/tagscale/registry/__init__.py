"""The model registry: from a trained run to a version, past the gate, to the champion that tags files."""

import tagscale.runtime.quiet  # noqa: F401 (before anything here imports mlflow)
