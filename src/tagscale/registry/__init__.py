"""The model registry: from a trained run to a version, past the gate, to the champion that tags files."""

import tagscale.tracking  # noqa: F401 (quietens MLflow, which must happen before anything here imports it)
