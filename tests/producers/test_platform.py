"""Windows' branch of the platform module: run on Linux, where files are made to behave as they do there."""

import ast
import importlib.util
import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runtide import _platform

Script = Callable[..., subprocess.CompletedProcess[str]]

# What opens, renames and deletes refuse what Windows refuses; a lock is one of an open file there as well.
WINDOWS = r"""
import builtins, errno, fcntl, importlib, json, os, shlex, subprocess, sys, threading, time, types
from pathlib import Path
import runtide
from runtide import _leftovers, _outbox, _platform, _tokens
from runtide._settings import resolve
from runtide._spool import Spool
from runtide_schemas import STREAMS

def is_open(path):
    path = os.path.realpath(path)
    for number in os.listdir('/proc/self/fd'):
        try:
            found = os.readlink(f'/proc/self/fd/{number}')
        except OSError:
            continue
        if found == path or found.startswith(path + '/'):
            return True
    return False

def guarded(function):
    def guard(path, *more, **options):
        for one in (path, *more[:1]):
            if is_open(one):
                raise PermissionError(errno.EACCES, 'The process cannot access the file: it is being used', str(one))
        return function(path, *more, **options)
    return guard

for name in ('rename', 'replace', 'unlink', 'rmdir'):
    setattr(os, name, guarded(getattr(os, name)))
os.O_BINARY = os.O_NONBLOCK
open_file = os.open
def open_binary(path, flags, *more, **options):
    assert not str(path).endswith('.seg') or flags & os.O_BINARY, 'bytes 10 would become two'
    return open_file(path, flags, *more, **options)
os.open = open_binary
for name in ('O_CLOEXEC', 'register_at_fork', 'fork', 'getuid', 'preadv', 'pread'):
    delattr(os, name)

def locking(fd, mode, nbytes, /):
    assert (mode, nbytes, os.lseek(fd, 0, os.SEEK_CUR)) == (2, 1, 0)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
msvcrt = sys.modules['msvcrt'] = types.ModuleType('msvcrt')
msvcrt.locking, msvcrt.LK_NBLCK = locking, 2
sys.platform = 'win32'
importlib.reload(_platform)

class Link:
    name, identity, records = 'a link', ('a link',), 0
    def deliver(self, parcel, chunks, stopped):
        for chunk in chunks:
            Link.records += len(chunk.entries)
            parcel.advance(chunk.stream, chunk.end)
        return False
    def finish(self, parcel): pass
    def close(self): pass
"""

as_on_windows = pytest.mark.skipif(sys.platform != "linux", reason="/proc says which files are open")


def test_the_stand_in_for_msvcrt_is_no_better_than_the_module() -> None:
    """Its function has the parameters, and its constant the value, that typeshed's stub has."""
    mypy = importlib.util.find_spec("mypy")
    assert mypy is not None and mypy.submodule_search_locations
    stub = ast.parse((Path(mypy.submodule_search_locations[0]) / "typeshed/stdlib/msvcrt.pyi").read_text())
    nodes = list(ast.walk(stub))
    (locking,) = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.name == "locking"]
    assert [argument.arg for argument in locking.args.posonlyargs] == ["fd", "mode", "nbytes"]
    assert not locking.args.args
    (constant,) = [n for n in nodes if isinstance(n, ast.AnnAssign) and ast.unparse(n.target) == "LK_NBLCK"]
    assert constant.value is not None and ast.literal_eval(constant.value) == 2
    assert "def locking(fd, mode, nbytes, /)" in WINDOWS


@as_on_windows
def test_a_run_goes_to_the_spool_where_open_files_cannot_be_moved(script: Script, spooled: Any) -> None:
    """What is written is what it is elsewhere, and the folder is locked before it is described."""
    script(
        WINDOWS
        + """
run = runtide.init(project='p', id='i')
for number in range(1000):
    run.log({'a': float(number), 'text': '\\n'})
assert run.flush()
(folder,) = (run._settings.home / 'spool').iterdir()
assert _leftovers.claim(folder) is None, 'its writer is alive'
runtide.finish()
backlog = _leftovers.claim(folder)
assert backlog is not None, 'its writer has ended'
backlog.unlock()
assert Path(run.dir).is_dir()
""",
        RUNTIDE_SEGMENT_BYTES="2000",
    )
    assert [value for _, _, value in spooled.points()] == list(map(float, range(1000)))
    assert len(spooled.cells()) == 1000
    assert [path.name for path in spooled.writers()[0].parent.iterdir()] == [spooled.writers()[0].name]
    assert (spooled.writers()[0] / "closed").exists()


@as_on_windows
def test_the_outbox_is_emptied_where_open_files_cannot_be_deleted(script: Script, home: Path) -> None:
    """A run's folder, and one that a dead writer left behind, are delivered and gone."""
    done = script(
        WINDOWS
        + """
_outbox.open_link = lambda settings: Link()
settings = resolve({})
dead = Spool(settings, 77, 'default/p/dead', 'outbox')
dead.send(STREAMS['runs'], [b'a record'])
dead.abandon()
root = settings.home / 'outbox'
with runtide.init(project='p') as run:
    for number in range(1000):
        run.log({'a': float(number)})
        if number % 100 == 0:
            assert run.flush()
    deadline = time.monotonic() + 60
    while (root / f'{77:016x}').exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
assert not list(root.iterdir()), list(root.iterdir())
assert Link.records > 10
_outbox.stop()
""",
        RUNTIDE_URL="http://127.0.0.1:9",
        RUNTIDE_SEGMENT_BYTES="500",
    )
    assert "cannot" not in done.stderr, done.stderr
    assert not list((home / "outbox").iterdir())


@as_on_windows
def test_tokens_are_kept_where_files_have_no_modes(script: Script) -> None:
    """The mode says that all may read it, as it always does there: that is no reason to leave it unused."""
    script(
        WINDOWS
        + """
home = Path(os.environ['RUNTIDE_DIR'])
_tokens.keep_token(home, 'http://a:1', 'one')
(home / 'token.json').chmod(0o666)
assert _tokens.read_tokens(home) == {'http://a:1': 'one'}
with (home / 'token.json').open():  # somebody reads it, and lets go of it
    reader = open(home / 'token.json')
threading.Timer(0.1, reader.close).start()
_tokens.keep_token(home, 'http://a:1', 'two')
assert _tokens.read_tokens(home) == {'http://a:1': 'two'}
assert _platform.command_line(['a b', 'c']) == '"a b" c'
_platform.after_fork_in_child(lambda: None)
"""
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b/c", "a/b/c"),
        ("what|ever/*/x", "what%7Cever/%2A/x"),
        ("a./b ", "a%2E/b%20"),
        ("con/aux.txt/com1 .x/console", "con%/aux.txt%/com1 .x%/console"),
        ("ünï/日本", "ünï/日本"),
    ],
)
def test_names_that_windows_forbids(monkeypatch: pytest.MonkeyPatch, name: str, expected: str) -> None:
    """Each is replaced by one that is allowed, and no other run has."""
    monkeypatch.setattr(_platform, "sys", SimpleNamespace(platform="win32"))
    assert _platform.path_of(Path("/home"), name) == Path("/home") / expected


def test_elsewhere_names_stay_as_they_are() -> None:
    """Also those that Windows forbids."""
    assert _platform.path_of(Path("/home"), "con/a|b") == Path("/home/con/a|b")


def test_the_sdk_asks_the_operating_system_in_one_module() -> None:
    """Modules and names that are not there on every system are used in _platform.py alone."""
    root = Path(inspect.getfile(_platform)).parent
    schemas = importlib.util.find_spec("runtide_schemas")
    assert schemas is not None and schemas.submodule_search_locations
    files = [*root.glob("*.py"), *Path(schemas.submodule_search_locations[0]).glob("*.py")]
    for file in files:
        if file.name == "_platform.py":
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                assert not names & {"fcntl", "pwd", "grp", "resource", "msvcrt", "signal"}, file
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os":
                forbidden = {"fork", "getuid", "register_at_fork", "chmod", "O_CLOEXEC", "pread", "preadv", "uname"}
                assert node.attr not in forbidden, (file, node.attr)
