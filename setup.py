"""What pyproject.toml cannot say: a wheel carries, as tagscale/project, the files beside src that a study needs.

In the repository they stand at the top, where `dvc repro` and `python -m pipelines` find them. An editable install
takes them from there; `tagscale.runtime.project.shipped` gives the place of either.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent.resolve()
SHIPPED = (
    *("params.yaml", "dvc.yaml", "presets/*.yaml", "pretrained/README.md", ".gitignore", ".dvcignore"),
    *(".dvc/config", ".dvc/.gitignore", ".dvc/plots/*.json", "components/**/*.py", "pipelines/**/*.py"),
)


class WithProject(build_py):
    """Copies the files into the wheel, and names them for the source distribution."""

    def files(self) -> list[Path]:
        found = {pattern: sorted(HERE.glob(pattern)) for pattern in SHIPPED}
        if missing := [pattern for pattern, files in found.items() if not files]:
            raise FileNotFoundError(f"{HERE}: no {', '.join(missing)}, which a wheel of tagscale holds")
        return [file.relative_to(HERE) for files in found.values() for file in files]

    def target(self, file: Path) -> str:
        return str(Path(self.build_lib, "tagscale", "project", file))

    def run(self) -> None:
        super().run()
        for file in [] if self.editable_mode else self.files():
            self.mkpath(str(Path(self.target(file)).parent))
            self.copy_file(str(HERE / file), self.target(file), preserve_mode=False)

    def get_source_files(self) -> list[str]:
        return [*super().get_source_files(), *map(str, self.files())]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        own = [] if self.editable_mode else [self.target(file) for file in self.files()]
        return [*super().get_outputs(include_bytecode), *own]


setup(cmdclass={"build_py": WithProject})
