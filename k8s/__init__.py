"""Manifests for a cluster (kustomize: base, components, overlays) and the check that validates them without one."""
