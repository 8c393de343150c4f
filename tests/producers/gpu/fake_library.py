"""Builds the stand-in of NVIDIA's library that fake_nvml.c is."""

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("fake_nvml.c")


def compiler() -> str | None:
    return shutil.which("cc")


def build(folder: Path) -> Path:
    """Compile it, and give the path for RUNTIDE_NVML_LIBRARY."""
    path = folder / "libnvidia-ml.so.1"
    cc = compiler()
    assert cc is not None, "needs a C compiler named cc"
    subprocess.run(
        [cc, "-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", path, SOURCE, "-lm"], check=True
    )
    return path
