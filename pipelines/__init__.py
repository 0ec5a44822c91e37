"""Kubeflow pipelines of the stages: compile them, or run them on this machine (`tagscale pipelines --help`)."""
