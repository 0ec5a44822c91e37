"""`python -m k8s.image`, and the tag that `make image` gives: one image for everything on a cluster."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from k8s.image import set_image
from k8s.rules import own_images

from manifests import K8S, OVERLAYS, copied, faults, rendered, replaced
from tagscale.cluster.image import Image
from tagscale.runtime.errors import TagscaleError

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
ROOT, DIGEST = K8S.parent, f"sha256:{'0123456789abcdef' * 4}"
COMMIT = "1234567" + "8" * 33  # seven digits alone, which YAML would read as a number


@needs_kubectl
@pytest.mark.parametrize("image", ["ghcr.io/us/tagscale:1234567", f"registry.example.org:5000/tagscale@{DIGEST}"])
def test_everything_of_an_overlay_runs_in_the_image(tmp_path, image):
    root = copied(tmp_path)
    before = {file: file.read_text().splitlines() for file in root.rglob("*.yaml")}
    files = set_image(Image.of(image), root)
    assert [file.parent.name for file in files] == [name for name in OVERLAYS if name != "local"]
    for overlay in OVERLAYS:
        found = {name for _, _, name in own_images(rendered(root, overlay))}
        assert found == {"tagscale:latest" if overlay == "local" else image}
    changed = {file: [*zip(lines, file.read_text().splitlines(), strict=True)] for file, lines in before.items()}
    lines = sum(old != new for lines in changed.values() for old, new in lines)
    assert lines == 2 * len(files) - 1, "one of each overlay, and the champion's where there is one"


@needs_kubectl
def test_the_champion_may_run_in_the_image_for_serving_of_the_same_commit(tmp_path):
    root, serve = copied(tmp_path), "ghcr.io/us/tagscale-serve:1234567"
    set_image(Image.of("ghcr.io/us/tagscale:1234567"), root, Image.of(serve))
    images = {(one.kind, one.name): image for one, _, image in own_images(rendered(root, "gpu"))}
    assert [key for key, image in images.items() if image == serve] == [("InferenceService", "tagscale-champion")]
    assert faults(root, "gpu") == []
    set_image(Image.of("ghcr.io/us/tagscale:1234567"), root, Image.of("ghcr.io/us/tagscale-serve:7654321"))
    assert any("found `ghcr.io/us/tagscale-serve:7654321`, and" in str(fault) for fault in faults(root, "gpu"))


def test_the_command_says_what_it_wrote_and_what_pipelines_need(tmp_path):
    root = copied(tmp_path)
    command = [sys.executable, "-m", "k8s.image", "--root", str(root)]
    done = subprocess.run([*command, "ghcr.io/us/tagscale:0d40257"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "k8s/overlays/gpu/kustomization.yaml: ghcr.io/us/tagscale:0d40257\n" in done.stdout
    assert done.stdout.endswith("  export TAGSCALE_IMAGE=ghcr.io/us/tagscale:0d40257\n")


@pytest.mark.parametrize(
    ("image", "because"),
    [
        ("ghcr.io/us/tagscale", "us/tagscale:latest: a cluster needs a tag that means one image for good"),
        ("ghcr.io/us/tagscale:0d40257-dirty", "no commit says what is in it"),
        ("tagscale:0d40257", "expected an image in a registry"),
        ("ghcr.io/us/tagscale:a b", "not the name of an image"),
    ],
)
def test_an_image_that_does_not_last_is_refused(tmp_path, image, because):
    root = copied(tmp_path)
    with pytest.raises(TagscaleError, match=because):
        set_image(Image.of(image), root)
    assert all(file.read_text() == (K8S / file.relative_to(root)).read_text() for file in root.rglob("*.yaml"))


def test_an_overlay_that_is_laid_out_otherwise_is_named_and_none_is_written(tmp_path):
    root = copied(tmp_path)
    line = next(one for one in (root / "overlays/gpu/kustomization.yaml").read_text().splitlines() if "newTag" in one)
    replaced(root, "overlays/gpu/kustomization.yaml", line, "  - name: tagscale\n    newTag: a")
    before = (root / "overlays/cloud/kustomization.yaml").read_text()
    with pytest.raises(TagscaleError, match=r"gpu/kustomization\.yaml: expected one line `- \{name: tagscale, newName"):
        set_image(Image.of("ghcr.io/us/tagscale:0d40257"), root)
    assert (root / "overlays/cloud/kustomization.yaml").read_text() == before


@needs_kubectl
def test_two_images_in_an_overlay_are_a_fault(tmp_path):
    root = copied(tmp_path)
    replaced(root, "servers/mlflow.yaml", "image: tagscale:latest", "image: registry.example.org/tagscale:0d40257")
    said = "found `tagscale:latest`, and `registry.example.org/tagscale:0d40257` elsewhere", "python -m k8s.image"
    assert any(all(one in str(fault) for one in said) for fault in faults(root, "local")), faults(root, "local")


def made(folder: Path, *words: str) -> str:
    done = subprocess.run(["make", "-s", *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """A git repository with the Makefile and a file of the image."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    return tmp_path


def test_the_tag_is_the_commit_of_what_the_image_holds(repository):
    tag = made(repository, "image-tag")
    assert re.fullmatch(r"[0-9a-f]{7}", tag)
    (repository / "k8s").mkdir()
    (repository / "k8s" / "overlay.yaml").write_text("")  # no part of the image
    assert made(repository, "image-tag") == tag
    (repository / "src" / "a.py").write_text("changed")
    assert made(repository, "image-tag") == f"{tag}-dirty"


@pytest.mark.parametrize(
    ("image", "tags"),
    [("tagscale", ["tagscale:1234567", "tagscale:latest"]), ("ghcr.io/us/t", ["ghcr.io/us/t:1234567"])],
)
def test_only_an_image_without_a_registry_is_tagged_latest(repository, image, tags):
    printed = made(repository, "-n", "image", f"IMAGE={image}", f"COMMIT={COMMIT}", "DIRTY=")
    assert re.findall(r"--tag (\S+)", printed) == tags
    assert f"GIT_COMMIT={COMMIT} " in printed
