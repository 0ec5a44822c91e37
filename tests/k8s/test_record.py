"""Champions that record what they answer, on the volume of the tasks: the component champion-record."""

import shutil
from typing import Any

import pytest
from k8s.rules import pods

from manifests import copied, faults, rendered, replaced

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
CHAMPIONS = {"local": "champion-deployment", "gpu": "champion-kserve", "cloud": "champion-kserve"}


@pytest.mark.parametrize("overlay", CHAMPIONS)
def test_rows_are_on_the_volume_where_tasks_find_them(overlay: str, tmp_path: Any) -> None:
    root, champion = copied(tmp_path), f"  - ../../components/{CHAMPIONS[overlay]}\n"
    before = {one.kind for one in rendered(root, overlay)}
    file = f"overlays/{overlay}/kustomization.yaml"
    replaced(root, file, champion, f"{champion}  - ../../components/champion-record\n")
    assert [str(fault) for fault in faults(root, overlay)] == []
    resources = rendered(root, overlay)
    assert {one.kind for one in resources} == before
    (pod,) = [
        pod
        for one in resources
        if one.name == "tagscale-champion" and one.kind in ("Deployment", "InferenceService")
        for _, pod in pods(one)
    ]
    (container,) = pod["containers"]
    assert container["args"][-1] == "--record=/served"
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert set(mounts) == {"/tmp", "/served"}
    assert mounts["/served"]["subPath"] == "served", "of the volume it sees no more"
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    claim = volumes[mounts["/served"]["name"]]["persistentVolumeClaim"]["claimName"]
    namespaces = {one.namespace for one in resources if (one.kind, one.name) == ("PersistentVolumeClaim", claim)}
    assert namespaces == {one.namespace for one in resources if one.name == "tagscale-champion"}
    assert "emptyDir" in volumes["tmp"]
    assert pod["securityContext"]["fsGroup"] == 1000, "which may write there"
