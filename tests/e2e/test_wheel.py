"""The wheel, not the checkout: it holds everything that it needs to run."""

import json
import os
import signal
import site
import socket
import subprocess
import sys
import sysconfig
import venv
import zipfile
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_wheel_alone_runs_the_stack(tmp_path: Path, until) -> None:
    """In a venv with the wheel and its dependencies, from a folder of its own, data goes from log() to SQL."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(tmp_path / "venv")}))
    # The dependencies are those of the tests. The checkout does not come with them: it is installed by a path file, and
    # path files in folders that are named by one are not read.
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    wheel = next(tmp_path.glob("runtide-*.whl"))
    names = zipfile.ZipFile(wheel).namelist()
    bundle = [name for name in names if name.startswith("runtide_dashboards/frontend/grid-")]
    assert sorted(name.rsplit(".", 1)[1] for name in bundle) == ["css", "js"]
    assert not any("node_modules" in name for name in names)
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(packages)], check=True)

    home = tmp_path / "home"
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    home.mkdir()

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [str(python), *arguments], env=environment, cwd=home, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = run("-c", "import runtide, runtide_stack, runtide_dashboards as d; print(runtide.__file__, d.__file__)")
    assert all(str(packages) in path for path in where.split())
    # Not the usual ports: the demo may start in the same moment, and both would find them free.
    with ExitStack() as probes:
        found = [probes.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        numbers = [probe.getsockname()[1] for probe in found]
    ports = [f"--{name}={n}" for name, n in zip(("port", "store-port", "ingest-port"), numbers, strict=True)]
    stack = subprocess.Popen([str(python), "-m", "runtide", "up", *ports], env=environment, cwd=home, text=True)
    try:
        until((home / ".runtide" / "stack.json").exists, "the stack is ready", process=stack)
        run("-c", "import runtide\nwith runtide.init(project='wheel') as r:\n [r.log({'x': i}) for i in range(1000)]")
        count = "SELECT count() AS n, sum(value) AS s FROM metrics WHERE key = 'x'"
        until(
            lambda: json.loads(run("-m", "runtide", "sql", count, "--format", "json")) == {"n": 1000, "s": 499500},
            "the points are there",
            process=stack,
        )
    finally:
        stack.send_signal(signal.SIGINT)
        assert stack.wait(60) == 0
    assert not (home / ".runtide" / "stack.json").exists()
