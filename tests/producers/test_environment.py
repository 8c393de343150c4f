"""What a run says of its code and of the job that it belongs to, and what it never says."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runtide
from runtide import _environment
from runtide._ci import find_job
from runtide._environment import packages

Script = Callable[..., subprocess.CompletedProcess[str]]
INIT = "import runtide\nruntide.init(project='p').log({'a': 1})\n"
JOBS = {
    "github": {
        "GITHUB_ACTIONS": "true",
        "GITHUB_SHA": "c0ffee",
        "GITHUB_REF": "refs/pull/7/merge",
        "GITHUB_REF_NAME": "7/merge",
        "GITHUB_HEAD_REF": "feature",
        "GITHUB_RUN_ID": "42",
        "GITHUB_JOB": "test",
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": "o/r",
        "GITHUB_TOKEN": "secret",
    },
    "gitlab": {
        "GITLAB_CI": "true",
        "CI_COMMIT_SHA": "c0ffee",
        "CI_COMMIT_REF_NAME": "refs/merge-requests/7/head",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "feature",
        "CI_MERGE_REQUEST_IID": "7",
        "CI_JOB_ID": "42",
        "CI_JOB_URL": "https://user:secret@gitlab.com/o/r/-/jobs/42",
        "CI_JOB_TOKEN": "secret",
    },
    "buildkite": {
        "BUILDKITE": "true",
        "BUILDKITE_COMMIT": "c0ffee",
        "BUILDKITE_BRANCH": "feature",
        "BUILDKITE_PULL_REQUEST": "7",
        "BUILDKITE_JOB_ID": "42",
        "BUILDKITE_BUILD_URL": "https://buildkite.com/o/r/builds/1",
        "BUILDKITE_AGENT_ACCESS_TOKEN": "secret",
    },
    "jenkins": {
        "JENKINS_URL": "https://jenkins/",
        "GIT_COMMIT": "c0ffee",
        "BRANCH_NAME": "PR-7",
        "CHANGE_BRANCH": "feature",
        "CHANGE_ID": "7",
        "BUILD_TAG": "42",
        "BUILD_URL": "https://jenkins/job/r/1/",
        "PASSWORD": "secret",
    },
    "circleci": {
        "CIRCLECI": "true",
        "CIRCLE_SHA1": "c0ffee",
        "CIRCLE_BRANCH": "feature",
        "CIRCLE_PULL_REQUEST": "https://github.com/o/r/pull/7",
        "CIRCLE_WORKFLOW_JOB_ID": "42",
        "CIRCLE_BUILD_URL": "https://circleci.com/gh/o/r/1",
        "CIRCLE_TOKEN": "secret",
    },
    "azure": {
        "TF_BUILD": "True",
        "BUILD_SOURCEVERSION": "c0ffee",
        "BUILD_SOURCEBRANCH": "refs/pull/7/merge",
        "SYSTEM_PULLREQUEST_SOURCEBRANCH": "refs/heads/feature",
        "SYSTEM_PULLREQUEST_PULLREQUESTID": "7",
        "SYSTEM_JOBID": "42",
        "SYSTEM_COLLECTIONURI": "https://dev.azure.com/o/",
        "SYSTEM_TEAMPROJECT": "a project",
        "BUILD_BUILDID": "1",
        "SYSTEM_ACCESSTOKEN": "secret",
    },
}


@pytest.mark.parametrize("service", JOBS)
def test_every_service_is_understood(service: str) -> None:
    """Commit, branch, pull request, id and address of the job, and none of the secrets beside them."""
    found = find_job(JOBS[service])
    assert {**found, "job_id": "", "job_url": ""} == {
        "service": service, "commit": "c0ffee", "branch": "feature", "pull_request": "7", "job_id": "", "job_url": "",
    }  # fmt: skip
    assert "42" in found["job_id"]
    assert found["job_url"].startswith("https://") and " " not in found["job_url"]
    assert "secret" not in str(found)


def test_a_push_is_no_pull_request() -> None:
    """Numbers in the name of a branch are no number of a request, and services say in odd ways that there is none."""
    github = {"GITHUB_ACTIONS": "1", "GITHUB_REF": "refs/heads/release-2/3", "GITHUB_REF_NAME": "release-2/3"}
    assert find_job(github | {"GITHUB_HEAD_REF": ""}) == {"service": "github", "branch": "release-2/3"}
    assert find_job({"BUILDKITE": "true", "BUILDKITE_PULL_REQUEST": "false"}) == {"service": "buildkite"}
    jenkins = {"JENKINS_URL": "https://jenkins/", "GIT_BRANCH": "origin/main"}
    assert find_job(jenkins) == {"service": "jenkins", "branch": "main"}
    assert find_job({"CI": "true", "GITHUB_SHA": "1"}) == {}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The folder of the script as a repository with one commit; returns a function that calls git there."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    for number in range(8):
        (tmp_path / f"file {number} ü.py").write_text("1")
    git("init", "-q", "-b", "trunk")
    git("add", "file*")
    git("commit", "-q", "-m", "m")
    monkeypatch.chdir(tmp_path)
    return git


def test_a_dirty_tree_is_told_once(script: Script, repository: Callable[..., str], tmp_path: Path) -> None:
    """At the terminal of the first rank, after init(), with the names of a few files; never when silent or clean."""
    twice = INIT + "runtide.finish()\n" + INIT
    assert "warning" not in script(twice).stderr
    for number in range(7):
        (tmp_path / f"file {number} ü.py").write_text("2")
    repository("mv", "file 7 ü.py", "renamed.py")
    (tmp_path / "untracked.py").write_text("1")
    (warning,) = [line for line in script(twice).stderr.splitlines() if "warning" in line]
    assert "file 0 ü.py, file 1 ü.py, file 2 ü.py, file 3 ü.py, file 4 ü.py and 3 more differ" in warning
    assert repository("rev-parse", "HEAD")[:12] in warning
    assert "warning" not in script(twice, RUNTIDE_SILENT="1").stderr
    assert "warning" not in script(twice, RANK="1").stderr


def test_a_clean_tree_can_be_demanded(
    repository: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """init() refuses before anything is recorded, and names the files; a disabled run records nothing anyway."""
    monkeypatch.setenv("RUNTIDE_REQUIRE_CLEAN_GIT", "1")
    runtide.init(project="p").finish()
    (tmp_path / "file 3 ü.py").write_text("2")
    with pytest.raises(runtide.UsageError, match=r"file 3 ü\.py differs from commit"):
        runtide.init(project="p")
    assert runtide.run is None
    runtide.init(project="p", mode="disabled").finish()
    repository("checkout", "-q", ".")
    runtide.init(project="p").finish()
    (tmp_path / ".git").rename(tmp_path / "elsewhere")
    with pytest.raises(runtide.UsageError, match="in no Git repository"):
        runtide.init(project="p")


def test_a_job_is_described(script: Script, spooled: Any, repository: Callable[..., str], tmp_path: Path) -> None:
    """Its branch stands in for that of a checked-out commit, and it alone where there is no repository at all."""
    commit = repository("rev-parse", "HEAD")
    repository("checkout", "-q", "--detach")
    job = {"GITHUB_ACTIONS": "1", "GITHUB_SHA": commit, "GITHUB_REF_NAME": "trunk", "GITHUB_TOKEN": "secret"}
    devices = {"CUDA_VISIBLE_DEVICES": "", "SLURM_JOB_ID": "77"}
    script(INIT, **job, **devices)
    found = json.loads(spooled.description()["environment"])
    assert found["git"] == {"commit": commit, "branch": "trunk", "dirty": False, "remote": ""}
    assert found["ci"] == {"service": "github", "commit": commit, "branch": "trunk"}
    assert (found["cuda_visible_devices"], found["slurm_job_id"]) == ("", "77")
    assert any(package.startswith("fastavro==") for package in found["packages"])
    assert "secret" not in json.dumps(found)
    (tmp_path / ".git").rename(tmp_path / "elsewhere")
    assert _environment._tree(str(tmp_path)) is None
    described = _environment.capture(str(tmp_path)) if not os.environ.get("GITHUB_ACTIONS") else {}
    assert "git" not in described


def test_a_checkout_without_its_git_folder(script: Script, spooled: Any) -> None:
    """Inside of an image, for instance: the commit is the one that the job names."""
    script(INIT, **JOBS["gitlab"])
    found = json.loads(spooled.description()["environment"])
    assert found["git"] == {"commit": "c0ffee", "branch": "feature"}


def test_packages_are_listed_as_far_as_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the first folder that has them; names as pip writes them; never more than a few kilobytes."""
    for number, names in enumerate(
        [["a_b.c-1.0.dist-info", "d.egg-info"], ["A_b_c-2.0.dist-info", "e-3-py3.11.egg-info"]]
    ):
        for name in names:
            (tmp_path / str(number) / name).mkdir(parents=True)
    path = [str(tmp_path / "0"), str(tmp_path / "nowhere"), str(tmp_path / "1"), __file__]
    assert packages(path) == ["a-b-c==1.0", "e==3"]
    for number in range(3000):
        (tmp_path / "1" / f"package{number}-1.0.dist-info").mkdir()
    listed = packages(path)
    assert len(json.dumps(listed)) < 20_000
    assert listed[-1] == f"and {3002 - len(listed) + 1} more"
