"""What a script pays before its first step and after its last one: import, init(), finish().

    python benchmarks/startup.py [--rounds N]

Every round is a fresh interpreter with a warm file cache; the two trackers and the two folders take turns. The figures
are medians in milliseconds, and in brackets the smallest. Runs go to the spool of a temporary folder. With wandb
installed, it is measured beside it, offline.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

SCRIPT = """
import json, sys, time
clock = time.perf_counter
taken, begin = {}, clock()
import MODULE as tracker
taken["import"] = clock() - begin
for number in ("first", "second"):
    begin = clock()
    run = tracker.init(project="benchmark", OPTIONS)
    taken[f"{number} init()"] = clock() - begin
    run.log({"loss": 0.5})
    begin = clock()
    tracker.finish()
    taken[f"{number} finish(), after 1 point"] = clock() - begin
print(json.dumps(taken))
"""
TRACKERS = {
    "runtide": 'mode="offline"',
    "wandb": 'mode="offline", settings=tracker.Settings(silent=True)',
}


def measure(module: str, folder: Path) -> dict[str, float]:
    """Milliseconds of each part, in a process of its own that runs in a folder."""
    code = SCRIPT.replace("MODULE", module).replace("OPTIONS", TRACKERS[module])
    environ = {**os.environ, "RUNTIDE_DIR": str(folder / "home"), "RUNTIDE_SILENT": "1", "WANDB_SILENT": "true"}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else every round compiles what an installed package has compiled
    done = subprocess.run([sys.executable, "-c", code], env=environ, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return {name: seconds * 1000 for name, seconds in json.loads(done.stdout.splitlines()[-1]).items()}


def repository(folder: Path) -> None:
    """Make a folder a Git repository with a few files."""
    for number in range(100):
        (folder / f"module{number}.py").write_text(f"{number}\n")
    git = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "m"]):
        subprocess.run([*git, *arguments], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10, help="(default: %(default)s)")
    args = parser.parse_args()
    modules = [module for module in TRACKERS if importlib.util.find_spec(module)]
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as root:
        folders = {"": Path(root, "plain"), ", in a Git repository": Path(root, "repository")}
        for folder in folders.values():
            folder.mkdir()
        repository(folders[", in a Git repository"])
        for turn in range(args.rounds + 1):
            for module in modules:
                for where, folder in folders.items():
                    for part, taken in measure(module, folder).items():
                        if turn and not (where and part == "import"):  # the first turn warms the caches
                            found[part + where][module].append(taken)
    print(f"{'ms':52}" + "".join(f"{module:>20}" for module in modules))
    for part, figures in found.items():
        cells = (f"{statistics.median(figures[m]):.1f} ({min(figures[m]):.1f})" for m in modules)
        print(f"{part:52}" + "".join(f"{cell:>20}" for cell in cells))


if __name__ == "__main__":
    main()
