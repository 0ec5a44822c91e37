"""Upgrade, backup and restore: what migrates MLflow's tables, and the commands in docs."""

import re
from collections.abc import Iterator

from k8s.rules import containers, pods

from conformance.kit import Elsewhere, Installation, Planted, Rule
from conformance.rules.policies import OURS

CHECK = ["python", "/scripts/mlflow_schema.py", "check"]
SELECTED = ("app.kubernetes.io/component", "maintenance")
MLFLOW = "MLflow 3.17.2: server/auth/db/utils.py (migrate_if_needed), store/tracking/sqlalchemy_store.py"
PG_RESTORE = "PostgreSQL 17: pg_restore, --clean"


def _migrating(installation: Installation) -> Iterator[str]:
    for overlay in installation.overlays:
        for resource in installation.overlay(overlay):
            if resource.kind != "Deployment":
                continue
            commands = [
                [*one["command"], *one.get("args", [])] for _, one, _ in containers(resource) if "command" in one
            ]
            opening = [words for words in commands if words[:2] == ["mlflow", "server"] or _opens(installation, words)]
            if opening and commands[0] != CHECK:
                yield f"{overlay}: {resource.name} opens MLflow's database before `{' '.join(CHECK)}`"
            for words in commands:
                if "upgrade" in words:
                    yield f"{overlay}: {resource.name} runs `{' '.join(words)}`, while its older replicas serve"


def _opens(installation: Installation, words: list[str]) -> bool:
    scripts = [word.rpartition("/")[2] for word in words if word.startswith("/scripts/")]
    return any("init_db(" in installation.text(f"k8s/servers/{script}") for script in scripts)


MIGRATING = Rule("no server migrates the database that its older replicas use", MLFLOW, _migrating)


def _ordered(installation: Installation) -> Iterator[str]:
    text = installation.text("docs/cluster.md")
    for title, job in (("Upgrade", "tagscale-database-upgrade"), ("Restore the database", "tagscale-database-restore")):
        section = text.partition(f"\n### {title}\n")[2].partition("\n### ")[0]
        block = (re.findall(r"```\n(.*?)```", section, re.DOTALL) or [""])[0]
        lines = block.replace("\\\n", " ").splitlines()
        stopped = _first(lines, r"scale deployment/tagscale-mlflow --replicas 0")
        gone = _first(lines, r"wait --for=delete .*app\.kubernetes\.io/name=tagscale-mlflow")
        begun = _first(lines, rf"--from=cronjob/{job} ")
        ended = _first(lines, r"wait --for=condition=Complete .*job/(database-upgrade|restore)$")
        started = _first(lines, r"apply -k \S+$|--replicas [1-9]")
        if not stopped < gone < begun < ended < started < len(lines):
            yield f"docs/cluster.md, {title}: expected the server to stop, its pods to go, {job} to end, a start"
        if started < stopped:
            yield f"docs/cluster.md, {title}: `{lines[started]}` starts the new server while the old replicas serve"


def _first(lines: list[str], pattern: str) -> int:
    return next((number for number, line in enumerate(lines) if re.search(pattern, line)), len(lines))


ORDERED = Rule("the database changes only while no server runs", MLFLOW, _ordered)


def _applied(installation: Installation) -> Iterator[str]:
    for overlay in installation.overlays:
        resources = installation.overlay(overlay)
        labelled = {
            (one.kind, one.name) for one in resources if SELECTED in one.body["metadata"].get("labels", {}).items()
        }
        for kind, name in sorted(labelled):
            if kind != "CronJob":
                continue
            (job,) = [one for one in resources if (one.kind, one.name) == (kind, name)]
            for _, pod in pods(job):
                needed = {("ServiceAccount", pod["serviceAccountName"])}
                needed |= {("ConfigMap", one["configMap"]["name"]) for one in pod["volumes"] if "configMap" in one}
                for missing, called in sorted(needed - labelled):
                    yield f"{overlay}: {name} needs {missing} {called}, which the maintenance label leaves out"


APPLIED = Rule(
    "the jobs of maintenance can be applied before the server",
    "kubectl 1.32: apply --selector filters what -k renders (k8s.io/cli-runtime, pkg/resource/builder.go)",
    _applied,
)


def _clean(installation: Installation) -> Iterator[str]:
    scripts = [file.relative_to(installation.folder) for file in (installation.folder / "k8s").glob("*/*.sh")]
    lines = [(str(file), line) for file in scripts for line in installation.text(str(file)).splitlines()]
    blocks = re.findall(r"```\n(.*?)```", installation.text("docs/cluster.md"), re.DOTALL)
    lines += [("docs/cluster.md", line) for block in blocks for line in block.splitlines()]
    for file, line in lines:
        if not line.lstrip().startswith("#") and "pg_restore" in line and "--clean" in line:
            yield f"{file}: `{line.strip()}` leaves newer tables, and stops at their foreign keys"


CLEAN = Rule("no dump is restored over the tables of today", PG_RESTORE, _clean)

RULES = [MIGRATING, ORDERED, APPLIED, CLEAN]
UPGRADE = """\
kubectl -n tagscale-servers scale deployment/tagscale-mlflow --replicas 0
"""
PLANTED = [
    Planted(
        "the restore's pod has no label that the database's policies know",
        OURS,
        lambda installation: installation.replace(
            "k8s/servers/database-restore.yaml", "            app.kubernetes.io/component: database-client\n", ""
        ),
        "tagscale-database-restore to tagscale-postgres, port 5432/TCP: refused at the Ingress",
    ),
    Planted(
        "the object storage does not know the job that copies artifacts",
        OURS,
        lambda installation: installation.replace(
            "k8s/components/s3-local/s3.yaml", "[tagscale-mlflow, tagscale-artifact-backup]", "[tagscale-mlflow]"
        ),
        "tagscale-artifact-backup to tagscale-s3, port 7070/TCP: refused at the Ingress",
    ),
    Planted(
        "an init container opens the users' tables first, and migrates them",
        MIGRATING,
        lambda installation: installation.replace(
            "k8s/servers/mlflow.yaml", "/scripts/mlflow_schema.py, check]", "/scripts/mlflow_user.py]"
        ),
        "tagscale-mlflow opens MLflow's database before",
    ),
    Planted(
        "every replica upgrades the database when it starts",
        MIGRATING,
        lambda installation: installation.replace(
            "k8s/servers/mlflow.yaml", "/scripts/mlflow_schema.py, check]", "/scripts/mlflow_schema.py, upgrade]"
        ),
        "while its older replicas serve",
    ),
    Planted(
        "the docs apply the new version before they stop the server",
        ORDERED,
        lambda installation: installation.replace(
            "docs/cluster.md", UPGRADE, "kubectl apply -k k8s/overlays/cloud\n" + UPGRADE
        ),
        "`kubectl apply -k k8s/overlays/cloud` starts the new server while the old replicas serve",
    ),
    Planted(
        "the script of the upgrade is not applied with it",
        APPLIED,
        lambda installation: installation.replace(
            "k8s/servers/kustomization.yaml", "component: maintenance", "component: scripts"
        ),
        "tagscale-database-upgrade needs ConfigMap tagscale-mlflow-scripts",
    ),
    Planted(
        "a restore into the same database",
        CLEAN,
        lambda installation: installation.replace(
            "k8s/servers/restore.sh", "--no-owner --no-priv", "--clean --no-priv"
        ),
        "leaves newer tables, and stops at their foreign keys",
    ),
]
ELSEWHERE = [
    Elsewhere(
        "pg_restore --clean over newer tables, on a real server",
        PG_RESTORE,
        "tests/servers/test_restore.py::test_pg_restore_into_the_same_database_fails_over_newer_tables",
    ),
    Elsewhere(
        "MLflow migrates the users' tables beneath an older server",
        MLFLOW,
        "tests/servers/test_upgrade.py::test_mlflow_alone_would_migrate_it_beneath_older_servers",
    ),
    Elsewhere(
        "an upgrade or a restore while a server has sessions",
        "PostgreSQL 17: pg_stat_activity",
        "tests/servers/test_upgrade.py::test_an_upgrade_is_refused_while_a_server_runs_and_then_brings_all_tables",
    ),
]
