"""Kubeflow components, one file per stage: each calls the stage function on the paths that the pipeline gives it."""
