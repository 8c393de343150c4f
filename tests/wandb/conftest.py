"""These tests run by `make test-wandb` alone, which brings wandb: without it they could prove nothing."""

import os
from pathlib import Path

import pytest

collect_ignore_glob = [] if os.environ.get("RUNTIDE_TEST_WANDB") else ["test_*.py"]


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither library sees the settings of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith(("RUNTIDE_", "WANDB_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("RUNTIDE_DIR", str(tmp_path / "runtide"))
    monkeypatch.setenv("RUNTIDE_SAMPLER", "off")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "wandb"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
