"""What a continuous-integration job says of itself, in a few variables of its environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

# By service: the variable that it always sets, then for each field the forms that it may have, best first: the first
# whose variables are all set counts. Nothing else of the environment is read, since secrets are in it.
_SERVICES: dict[str, tuple[str, dict[str, tuple[str, ...]]]] = {
    "github": ("GITHUB_ACTIONS", {
        "commit": ("{GITHUB_SHA}",),
        "branch": ("{GITHUB_HEAD_REF}", "{GITHUB_REF_NAME}"),
        "pull_request": ("{GITHUB_REF}",),
        "job_id": ("{GITHUB_RUN_ID}/{GITHUB_JOB}",),
        "job_url": ("{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}",),
    }),
    "gitlab": ("GITLAB_CI", {
        "commit": ("{CI_COMMIT_SHA}",),
        "branch": ("{CI_MERGE_REQUEST_SOURCE_BRANCH_NAME}", "{CI_COMMIT_REF_NAME}"),
        "pull_request": ("{CI_MERGE_REQUEST_IID}",),
        "job_id": ("{CI_JOB_ID}",),
        "job_url": ("{CI_JOB_URL}",),
    }),
    "buildkite": ("BUILDKITE", {
        "commit": ("{BUILDKITE_COMMIT}",),
        "branch": ("{BUILDKITE_BRANCH}",),
        "pull_request": ("{BUILDKITE_PULL_REQUEST}",),
        "job_id": ("{BUILDKITE_JOB_ID}",),
        "job_url": ("{BUILDKITE_BUILD_URL}#{BUILDKITE_JOB_ID}",),
    }),
    "jenkins": ("JENKINS_URL", {
        "commit": ("{GIT_COMMIT}",),
        "branch": ("{CHANGE_BRANCH}", "{BRANCH_NAME}", "{GIT_BRANCH}"),
        "pull_request": ("{CHANGE_ID}",),
        "job_id": ("{BUILD_TAG}",),
        "job_url": ("{BUILD_URL}",),
    }),
    "circleci": ("CIRCLECI", {
        "commit": ("{CIRCLE_SHA1}",),
        "branch": ("{CIRCLE_BRANCH}", "{CIRCLE_TAG}"),
        "pull_request": ("{CIRCLE_PR_NUMBER}", "{CIRCLE_PULL_REQUEST}"),
        "job_id": ("{CIRCLE_WORKFLOW_JOB_ID}",),
        "job_url": ("{CIRCLE_BUILD_URL}",),
    }),
    "azure": ("TF_BUILD", {
        "commit": ("{BUILD_SOURCEVERSION}",),
        "branch": ("{SYSTEM_PULLREQUEST_SOURCEBRANCH}", "{BUILD_SOURCEBRANCH}"),
        "pull_request": ("{SYSTEM_PULLREQUEST_PULLREQUESTNUMBER}", "{SYSTEM_PULLREQUEST_PULLREQUESTID}"),
        "job_id": ("{SYSTEM_JOBID}",),
        "job_url": ("{SYSTEM_COLLECTIONURI}{SYSTEM_TEAMPROJECT}/_build/results?buildId={BUILD_BUILDID}",),
    }),
}  # fmt: skip
_NUMBER = re.compile(r"(?:^|/pull/|/pull-requests/)(\d+)(?:/|$)")


def find_job(environ: Mapping[str, str]) -> dict[str, str]:
    """The job that this process belongs to: service, commit, branch (or tag), pull_request, job_id and job_url.

    Args:
        environ: The environment.

    Returns:
        Those fields that are known; empty outside of the services above.
    """
    given = {name: value for name, value in environ.items() if value}
    for service, (mark, fields) in _SERVICES.items():
        if mark in given:
            found = {field: _first(forms, given) for field, forms in fields.items()}
            found["branch"] = found["branch"].removeprefix("refs/heads/").removeprefix("origin/")
            number = _NUMBER.search(found["pull_request"])
            found["pull_request"] = number[1] if number else ""  # BUILDKITE_PULL_REQUEST=false, refs/heads/main
            found["job_url"] = without_credentials(found["job_url"].replace(" ", "%20"))
            return {"service": service} | {field: value for field, value in found.items() if value}
    return {}


def _first(forms: tuple[str, ...], given: Mapping[str, str]) -> str:
    for form in forms:
        try:
            return form.format_map(given)
        except KeyError:
            continue
    return ""


def without_credentials(url: str) -> str:
    """A URL without a user and a password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if parts.scheme else url
