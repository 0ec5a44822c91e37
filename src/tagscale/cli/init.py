"""`tagscale init`: a study in a folder of its own, without a copy of this repository.

Its files are those of the repository. Only dvc.yaml differs: where the repository's stages depend on folders of code, a
study's depend on lists of the digests of these folders, as they are installed. DVC runs stage `code`, which writes the
lists, at every `dvc repro`, and then the stages whose lists differ.
"""

import re
import shlex
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from tagscale import __version__
from tagscale.cli.settings import rewrite
from tagscale.cli.stages import PARAMS
from tagscale.cli.use import PRESETS, USE
from tagscale.params.load import read_yaml
from tagscale.runtime.code import NoSuchCode, digests_of
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.extras import remedy
from tagscale.runtime.files import replacing
from tagscale.runtime.project import shipped

app = typer.Typer()

DVC_FILE = Path("dvc.yaml")
COPIED = (".dvc", ".dvcignore", ".gitignore", "params.yaml", "presets", "pretrained/README.md")
CODE, LIST = ".tagscale/code", ".sha256"  # folder of a study, end of the files in it
SOURCE = "src/tagscale"  # the same code in the repository
HEADER = f"""\
# The way of the data. Each stage is a sub-command of `tagscale`. It names the keys of params.yaml that it reads, and
# lists of the digests of the code that it reaches ({CODE}). `dvc dag` draws it, `dvc repro` runs it.

stages:
  code:
    desc: digests of the installed tagscale; stages run again where those of their code differ
    cmd: tagscale lock-code
    always_changed: true
    outs:
      - {CODE}:
          cache: false  # git keeps it

"""


@app.command(rich_help_panel=USE)
def init(
    folder: Annotated[Path, typer.Argument(help="Of the study; a new or an empty one.")],
    update: Annotated[
        bool, typer.Option("--update", help="Write dvc.yaml and presets/ of a study anew, as this tagscale has them.")
    ] = False,
) -> None:
    """Begin a study in a folder of its own: settings, stages, presets, git and DVC."""
    if find_spec("dvc") is None:
        raise TagscaleError(remedy("dvc") or "dvc is not installed.")
    if update:
        _update(folder)
        print(f"{folder}: dvc.yaml and presets/ are those of tagscale {__version__}.")
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TagscaleError(f"{folder}: not an empty folder. Name a new one; `--update` is for a study that is there.")
    with tempfile.TemporaryDirectory() as temporary:  # an empty folder stays itself: it may be the current one
        study = Path(temporary) / "study"
        _write_study(study, folder.resolve().name)
        shutil.copytree(study, folder, dirs_exist_ok=True)
    has_git = _begin_git(folder)
    print(f"{folder} is a study now, of the default corpus ({folder / PARAMS}). Next:\n")
    go = "" if folder.resolve() == Path.cwd() else f"cd {shlex.quote(str(folder))} && "
    commit = "git add -A && git commit -m 'A study' && " if has_git else ""
    print(f"  {go}{commit}dvc repro")
    if not has_git:
        print("\ngit is not installed here, so DVC works without it (core.no_scm in .dvc/config).")


@app.command(hidden=True)
def lock_code(
    stages: Annotated[Path, typer.Option("--dvc", help="Names the code that its stages depend on.")] = DVC_FILE,
) -> None:
    """Write the digests of the installed code that the stages of a study depend on. Its stage `code` does this."""
    names = code_in(read_yaml(stages))
    try:
        lists = {name: digests_of(name) for name in names}
    except NoSuchCode as error:
        raise TagscaleError(
            f"{error} {stages} names it as code of a stage, but tagscale {__version__} has other stages: "
            "`tagscale init --update .` writes those."
        ) from None
    with replacing(stages.parent / CODE) as fresh:
        for name, digests in lists.items():
            file = fresh / f"{name}{LIST}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(f"{digest}  {path}\n" for path, digest in digests.items()), encoding="utf-8")


def code_in(content: dict[str, Any]) -> list[str]:
    """Folders and modules of tagscale whose digests the stages of a study depend on."""
    deps = {dep for stage in content["stages"].values() for dep in stage.get("deps", [])}
    return sorted(dep.removeprefix(f"{CODE}/").removesuffix(LIST) for dep in deps if dep.startswith(f"{CODE}/"))


def stages_of_study(repository: str) -> str:
    """dvc.yaml of a study, from the repository's: a path below src/tagscale becomes that of the list of its digests."""
    _, _, stages = repository.partition("\nstages:\n")
    return HEADER + re.sub(rf"(?m)^( +- ){SOURCE}/(\S+)", rf"\1{CODE}/\2{LIST}", stages)


def _write_study(folder: Path, name: str) -> None:
    source = shipped()
    for path in COPIED:
        place, target = source / path, folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if place.is_dir():
            own = shutil.ignore_patterns("tmp", "cache", "config.local")  # what DVC keeps of this clone alone
            shutil.copytree(place, target, ignore=own, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(place, target)
    rewrite(folder / PARAMS, {"tracking": {"experiment": name}})
    readme = Path(__file__).with_name("study") / "README.md"
    text = readme.read_text(encoding="utf-8").replace("NAME", name, 1).replace("VERSION", __version__, 1)
    (folder / "README.md").write_text(text, encoding="utf-8")
    _write_stages(folder)


def _write_stages(folder: Path) -> None:
    text = stages_of_study((shipped() / DVC_FILE).read_text(encoding="utf-8"))
    with replacing(folder / DVC_FILE) as fresh:
        fresh.write_text(text, encoding="utf-8")
    lock_code(folder / DVC_FILE)


def _update(folder: Path) -> None:
    if not (folder / CODE).is_dir():
        raise TagscaleError(f"{folder}: no study that `tagscale init` has begun; there is no {CODE}/ in it.")
    shutil.copytree(shipped() / PRESETS, folder / PRESETS, dirs_exist_ok=True, copy_function=shutil.copyfile)
    _write_stages(folder)


def _begin_git(folder: Path) -> bool:
    """Make the folder a git repository, unless it is in one; without git, tell DVC so. Returns whether there is git."""
    try:
        inside = subprocess.run(["git", "rev-parse", "--git-dir"], cwd=folder, capture_output=True)
        if inside.returncode:
            subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True, capture_output=True)
    except FileNotFoundError:
        config = folder / ".dvc" / "config"
        config.write_text(config.read_text().replace("[core]\n", "[core]\n    no_scm = true\n"))
        return False
    except subprocess.CalledProcessError as error:
        raise TagscaleError(f"{folder}: `git init` failed: {error.stderr.decode(errors='replace').strip()}") from None
    return True
