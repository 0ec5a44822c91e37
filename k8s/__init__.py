"""Manifests for a cluster (kustomize: servers, tasks, components, overlays), and their check, which needs none."""
