"""Recurring runs, and when they start."""

import re

import pytest

from kfp_loopback.commands import call, only
from tagscale.runtime.errors import TagscaleError


def test_schedules_a_watch(server):
    call("schedule", server, "--pipeline", "watch", "--rows", "scores/2026", "--cron", "0 5 * * *")
    made = only(server.recurring)
    assert made["runtime_config"]["parameters"] == {"rows": "scores/2026"}
    call("schedule", server, "--pipeline", "watch", "--remove")
    assert server.recurring == {}


def test_schedules(server):
    call("schedule", server, "--cron", "0 3 * * *", "--max-concurrency", "2")
    made = only(server.recurring)
    assert made["display_name"] == "tagscale-retrain default-study"
    assert made["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * *"}}
    assert (made["max_concurrency"], made["no_catchup"], made["mode"]) == ("2", True, "ENABLE")
    assert made["pipeline_version_reference"]["pipeline_version_id"] == only(server.versions)["pipeline_version_id"]
    assert made["service_account"] == "tagscale-pipeline"
    # Kubeflow Pipelines 2.17.0 starts runs of a schedule with it through its API, without their arguments
    # (apiserver/resource/resource_manager.go, CreateJob; apiserver/template/v2_template.go).
    assert "plugins_input" not in made


def test_a_schedule_of_the_same_name_is_replaced(server):
    for name, cron in (("nightly", "0 3 * * *"), ("weekly", "@weekly"), ("nightly", "30 4 * * MON")):
        call("schedule", server, "--cron", cron, "--name", name)
    crons = {one["display_name"]: one["trigger"]["cron_schedule"]["cron"] for one in server.recurring.values()}
    assert len(server.recurring) == 2
    assert crons == {"weekly": "@weekly", "nightly": "0 30 4 * * MON"}


def test_a_failed_schedule_leaves_the_old_one(server):
    call("schedule", server, "--cron", "0 3 * * *")
    server.script = [""] * 5 + ["500"]
    with pytest.raises(TagscaleError, match="status 500"):
        call("schedule", server, "--cron", "0 4 * * *")
    assert only(server.recurring)["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"


def test_catching_up(server):
    call("schedule", server, "--cron", "0 3 * * *", "--catch-up")
    assert only(server.recurring)["no_catchup"] is False


def test_removes_a_schedule(server):
    call("schedule", server, "--cron", "0 3 * * *", "--name", "nightly")
    with pytest.raises(TagscaleError, match=r"no recurring run 'nightli' in experiment .*did you mean 'nightly'"):
        call("schedule", server, "--remove", "--name", "nightli")
    call("schedule", server, "--remove", "--name", "nightly")
    assert server.recurring == {}
    with pytest.raises(TagscaleError, match="there are none"):
        call("schedule", server, "--remove", "--name", "nightly")


@pytest.mark.parametrize("arguments", [(), ("--cron", "0 3 * * *", "--remove")])
def test_either_cron_or_remove(server, arguments):
    with pytest.raises(TagscaleError, match="expected either --cron"):
        call("schedule", server, *arguments)


@pytest.mark.parametrize(
    ("cron", "message"),
    [
        ("0 3 * *", "4 fields; expected five"),
        ("60 3 * * *", "the minute is '60'; expected numbers from 0 to 59"),
        ("0 3 * * 7", "the day of the week is '7'; expected numbers from 0 to 6, or SUN to SAT"),
        ("0 3 * FOO *", "the month is 'FOO'; expected numbers from 1 to 12, or JAN to DEC"),
        ("0 5-3 * * *", "the hour is '5-3'"),
        ("*/0 3 * * *", "the minute is '*/0'"),
        ("* 0 3 * * *", "the second is '*'"),
        ("@often", "1 fields"),
    ],
)
def test_an_invalid_cron_expression(server, cron, message):
    with pytest.raises(TagscaleError, match=re.escape(message)):
        call("schedule", server, "--cron", cron)
    assert server.asked == []
