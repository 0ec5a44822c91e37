from cli.tag_project import folder, project  # noqa: F401 (fixtures)
