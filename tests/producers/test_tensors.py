"""Tensors of a CUDA device (by tests/producers/fake_torch.py), and arrays of other libraries."""

import ast
import importlib.util
import inspect
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from runtide import _rows, _tensors
from runtide._values import freeze
from runtide.testing import Memory, start_run

Until = Callable[[Callable[[], object], str], None]
FAKE = Path(__file__).with_name("fake_torch.py")


def fake_torch() -> Any:
    spec = importlib.util.spec_from_file_location("torch", FAKE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The stand-in, in the place of torch."""
    module = fake_torch()
    monkeypatch.setitem(sys.modules, "torch", module)
    monkeypatch.setattr(_tensors, "_pool", None)
    yield module
    module.gpu.broken = ""


def points(memory: Memory) -> list[tuple[str, int, float]]:
    """Every number as (key, step, value), in the order of the records."""
    return [
        (key, step, record["values"][number * len(record["steps"]) + position])
        for record in memory.records("metrics")
        for position, step in enumerate(record["steps"])
        for number, key in enumerate(record["keys"])
    ]


def test_a_tensor_has_the_value_of_the_time_of_the_call(torch: Any) -> None:
    """Though the device gets to it later, and the tensor is changed in place and freed right after; nothing waits."""
    memory = Memory()
    run = start_run(memory)
    for step in range(5):
        loss = torch.Tensor(0.0)
        torch.change(loss, float(step))
        run.log({"loss": loss, "lr": 0.5})
        torch.change(loss, -1.0)
        del loss
    run.log({"count": torch.nn.Parameter(7, torch.int64)})
    assert not memory.records("metrics")
    torch.gpu.run()
    run.finish()
    found = points(memory)
    assert [value for key, _, value in found if key == "loss"] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert ("count", 5, 7.0) in found
    assert not run.dropped


def test_memory_of_another_stream_is_not_used_again_too_early(torch: Any) -> None:
    """The tensor was made on one stream and is logged on another, which is behind: the allocator knows of it."""
    memory = Memory()
    run = start_run(memory)
    loss, first = torch.Tensor(3.0), torch.gpu.current
    torch.gpu.current = second = torch.Stream()
    run.log({"loss": loss})
    del loss
    torch.gpu.run(first)
    torch.gpu.run(second)
    run.finish()
    assert points(memory) == [("loss", 0, 3.0)]


def test_what_is_behind_a_tensor_waits_for_it(torch: Any, until: Until) -> None:
    """Steps stay in their order, so that every frame is in order; what was before goes at once."""
    memory = Memory()
    run = start_run(memory)
    run.log({"a": 0.0})
    run.log({"a": torch.Tensor(1.0)})
    run.log({"a": 2.0})
    until(lambda: memory.records("metrics"), "the first step is sent")
    assert not run.flush(0.3)
    assert points(memory) == [("a", 0, 0.0)]
    torch.gpu.run()
    assert run.flush()
    assert points(memory) == [("a", 0, 0.0), ("a", 1, 1.0), ("a", 2, 2.0)]
    assert all(record["ordered"] for record in memory.records("metrics"))
    run.finish()


def test_a_device_that_hangs_keeps_nothing_else_from_the_disk(
    torch: Any, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a second other calls overtake; tensors stay in their order, and come later, as out of order."""
    monkeypatch.setattr(_rows, "_HOLD", 0.0)
    memory = Memory()
    run = start_run(memory)
    run.log({"a": torch.Tensor(0.0)})
    run.log({"a": torch.Tensor(1.0)})
    run.log({"a": 2.0})
    until(lambda: points(memory) == [("a", 2, 2.0)], "the number is sent")
    torch.gpu.run()
    run.finish()
    assert points(memory) == [("a", 2, 2.0), ("a", 0, 0.0), ("a", 1, 1.0)]
    assert [record["ordered"] for record in memory.records("metrics")] == [True, False]


def test_a_device_that_hangs_does_not_hang_finish(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end is bounded; numbers of the same call are kept, and what is lost is counted."""
    monkeypatch.setenv("RUNTIDE_FINISH_TIMEOUT", "0.4")
    memory = Memory()
    run = start_run(memory)
    run.log({"loss": torch.Tensor(1.0), "lr": 0.5, "grid": torch.Tensor([1.0, 2.0])})
    run.log({"lr": 0.25, "text": "x"})
    begin = time.monotonic()
    run.finish()
    assert time.monotonic() - begin < 30
    assert points(memory) == [("lr", 0, 0.5), ("lr", 1, 0.25)]
    assert run.dropped == {"device_silent": 2}
    (end,) = [event for event in memory.records("runs") if event["event"] == "finish"]
    assert end["dropped"] == {"device_silent": 2}


def test_a_device_that_fails_costs_its_own_values(torch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """An error of an earlier operation, told by the event: the rest goes on, and the person reads why."""
    memory = Memory()
    run = start_run(memory)
    run.log({"loss": torch.Tensor(1.0), "lr": 0.5})
    torch.gpu.broken = "CUDA error: an illegal memory access was encountered\nand more"
    assert run.flush()
    run.log({"lr": 0.25})
    run.finish()
    assert points(memory) == [("lr", 0, 0.5), ("lr", 1, 0.25)]
    assert run.dropped == {"device_failed": 1}
    assert "illegal memory access" in capsys.readouterr().err


def test_flush_finish_and_the_summary_wait_for_the_device(torch: Any) -> None:
    """They are asked for everything that was logged before, and the device is but behind."""
    memory = Memory()
    run = start_run(memory)
    for value, ask in enumerate((lambda: run.summary["a"] == 0.0, run.flush, lambda: run.finish() is None)):
        run.log({"a": torch.Tensor(float(value))})
        device = threading.Timer(0.2, torch.gpu.run)
        device.start()
        assert ask()
        device.join()
    assert points(memory) == [("a", 0, 0.0), ("a", 1, 1.0), ("a", 2, 2.0)]


def test_a_disabled_run_keeps_the_last_tensor(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody takes its calls away but itself, from time to time: neither they nor what waits grow without bound."""
    run = start_run(Memory(), mode="disabled")
    for value in range(25_000):
        run.log({"a": torch.Tensor(float(value)), "b": 1.0})
        if value % 1000 == 0:
            torch.gpu.run()
    assert len(run._entries) < 10_000
    torch.gpu.run()
    assert run.summary["a"] == 24_999.0
    run.finish()


def test_tensors_of_many_elements_and_inside_of_lists_are_lists(torch: Any) -> None:
    """Wherever in the value they are; an empty one is an empty list."""
    memory = Memory()
    run = start_run(memory)
    data = {"grid": torch.Tensor([1.0, 2.0]), "one": torch.Tensor([5.0]), "none": torch.Tensor([])}
    data["complex"] = torch.Tensor(1j, torch.complex128)
    run.log(
        data | {"mixed": [1, torch.Tensor(2.0), {"x": (torch.Tensor(3.0), None)}], "nested": {"y": torch.Tensor(4.0)}}
    )
    torch.gpu.run()
    run.finish()
    (record,) = memory.records("metrics_json")
    found = {key: json.loads(text) for key, text in zip(record["keys"], record["values"], strict=True)}
    assert found == {"grid": [1.0, 2.0], "none": [], "complex": "1j", "mixed": [1, 2.0, {"x": [3.0, None]}]}
    assert points(memory) == [("one", 0, 5.0), ("nested.y", 0, 4.0)]


def test_what_cannot_be_stored_leaves_no_trace(torch: Any) -> None:
    """A graph that is being captured, or another value that is none: a TypeError, and the slots return."""
    run = start_run(Memory())
    with pytest.raises(TypeError, match="'o'"):
        run.log({"a": torch.Tensor(1.0), "o": object()})
    torch.gpu.capturing = True
    with pytest.raises(TypeError, match=r"replay\(\)"):
        run.log({"a": torch.Tensor(1.0)})
    torch.gpu.capturing = False
    assert run.step == 0
    torch.gpu.run()
    run.finish()
    pool = _tensors.pool(torch)
    assert all(transfer.has_ended() for transfer in list(pool._under_way))
    assert len(pool._free) == _tensors._SLOTS


def test_pinned_memory_is_allocated_once(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots and events are used again, also while the sender does not get to them; beyond them torch's own serve."""
    monkeypatch.setattr(_tensors, "_SLOTS", 64)
    monkeypatch.setenv("RUNTIDE_FLUSH_INTERVAL", "3600")
    memory = Memory()
    run = start_run(memory)
    for step in range(1000):
        run.log({"a": torch.Tensor(float(step)), "b": torch.Tensor(-float(step))})
        torch.gpu.run()
    assert torch.gpu.pinned == [64 * 8]
    assert torch.gpu.events <= 64
    for step in range(1000, 1040):
        run.log({"a": torch.Tensor(float(step)), "b": torch.Tensor(-float(step))})
    torch.gpu.run()
    assert torch.gpu.pinned == [64 * 8] + [1] * 16
    run.finish()
    found = points(memory)
    assert [value for key, _, value in found if key == "a"] == [float(step) for step in range(1040)]
    assert [value for key, _, value in found if key == "b"] == [-float(step) for step in range(1040)]


def test_tensors_under_way_are_the_parents(script: Callable[..., Any], spooled: Any) -> None:
    """A forked child sends none of them, asks no event and destroys none, and logs numbers of its own."""
    script(f"""
import importlib.util, os, sys
spec = importlib.util.spec_from_file_location("torch", {str(FAKE)!r})
torch = sys.modules["torch"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(torch)
import runtide
run = runtide.init(project='p')
run.log({{'parent': torch.Tensor(1.0)}})
if (child := os.fork()) == 0:
    errors = []
    sys.unraisablehook = lambda error: errors.append(error)
    run.log({{'child': 2.0}})
    assert run.summary['child'] == 2.0
    runtide.finish()
    os._exit(len(errors))
assert os.waitpid(child, 0)[1] == 0
torch.gpu.run()
""")
    assert sorted(spooled.points()) == [("child", 1, 2.0), ("parent", 0, 1.0)]


def test_many_threads_log_tensors(torch: Any) -> None:
    """Each value is there once, whoever reads it: the sender, a look at the summary, or a call in want of slots."""
    memory = Memory()
    run = start_run(memory)
    stop = threading.Event()

    def device() -> None:
        while not stop.is_set():
            torch.gpu.run()

    def work(name: str) -> None:
        for number in range(500):
            run.log({name: torch.Tensor(float(number))}, step=number)
            if number % 50 == 0:
                assert run.summary[name] <= number

    threads = [threading.Thread(target=work, args=(f"k{number}",)) for number in range(4)]
    worker = threading.Thread(target=device)
    for thread in (worker, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    run.finish()
    stop.set()
    worker.join()
    assert sorted(points(memory)) == [(f"k{n}", step, float(step)) for n in range(4) for step in range(500)]


def real_torch() -> ModuleType:
    return pytest.importorskip("torch", reason="torch is not installed")  # type: ignore[no-any-return]


def _parameters(stub: Path, holder: str, name: str) -> list[set[str]]:
    """Names of the parameters of a function that is written in C, for each way to call it; by torch's own stubs."""
    tree = ast.parse(stub.read_text())
    bodies = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == holder]
    found = [node for node in (bodies[0] if holder else tree.body) if getattr(node, "name", "") == name]
    return [
        {argument.arg for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]} - {"self"}
        for node in found
        if isinstance(node, ast.FunctionDef)
    ]


def test_the_stand_in_is_no_better_than_torch() -> None:
    """Whatever it offers the real module has too, with parameters of the same names."""
    real, torch = real_torch(), fake_torch()
    stubs = Path(real.__file__ or "").parent / "_C"
    offered = {name for name in vars(torch.Tensor) if not name.startswith("_")} | {
        "is_cuda",
        "device",
        "dtype",
        "shape",
    }
    for name in offered:
        assert hasattr(real.Tensor, name), name
        ours = getattr(torch.Tensor, name, None)
        if inspect.isfunction(ours):
            wanted = set(inspect.signature(ours).parameters) - {"self"}
            ways = _parameters(stubs / "__init__.pyi", "TensorBase", name)
            assert any(wanted <= way for way in ways), (name, wanted, ways)
    wanted = set(inspect.signature(torch.empty).parameters)
    assert any(wanted <= way for way in _parameters(stubs / "_VariableFunctions.pyi", "", "empty"))
    for name in ("record", "query"):
        ours, theirs = getattr(torch.cuda.Event, name), getattr(real.cuda.Event, name)
        assert set(inspect.signature(ours).parameters) <= set(inspect.signature(theirs).parameters)
    inspect.signature(real.cuda.Event).bind()
    inspect.signature(real.cuda.current_stream).bind(device="cuda:0")
    inspect.signature(real.cuda.is_current_stream_capturing).bind()
    inspect.signature(real.inference_mode).bind(False)
    assert issubclass(real.nn.Parameter, real.Tensor) and isinstance(real.uint8, real.dtype)
    assert real.strided is real.zeros(1).layout and hash(real.device("cuda:0"))
    assert issubclass(real.AcceleratorError, RuntimeError)


def test_slots_take_every_type_of_number() -> None:
    """On the host, with the real module: no type is converted, and autograd and inference mode are not in the way."""
    torch = real_torch()
    pool = _tensors.Pool(torch, pin=False)
    kinds = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.bool]
    kinds += [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64]
    tensors = [torch.tensor(1, dtype=kind) for kind in kinds for _ in range(20)]
    tensors += [torch.tensor([[1.0]], requires_grad=True), torch.nn.Parameter(torch.tensor(1.0))]
    tensors += [torch.tensor([1 + 1j]).conj().imag.neg(), torch.tensor(1 - 0j, dtype=torch.complex64).conj()]
    assert pool._target(torch.tensor(1j, dtype=torch.complex128)).slot is None
    for mode in (torch.inference_mode, torch.no_grad, torch.enable_grad):
        with mode():
            copies = [pool._target(tensor) for tensor in tensors]
            for copy, tensor in zip(copies, tensors, strict=True):
                source = tensor.detach().resolve_conj().resolve_neg()
                copy.target.copy_(source.reshape(()), non_blocking=True)
        assert len({copy.slot for copy in copies}) == len(tensors)
        assert [copy.target.item() for copy in copies] == [1] * len(tensors)
        assert not any(copy.target.requires_grad for copy in copies)
        target = pool._target(torch.zeros(2, 3)).target
        assert (target.shape, target.is_pinned()) == ((2, 3), False)


def test_tensors_of_the_host_are_numbers_and_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real module: also bfloat16 and what requires a gradient; later changes in place do not reach them."""
    torch = real_torch()
    memory = Memory()
    run = start_run(memory)
    loss = torch.tensor(0.5, requires_grad=True)
    row = torch.tensor([1.0, 2.0], dtype=torch.bfloat16, requires_grad=True)
    run.log({"loss": loss, "half": torch.tensor([[1.5]], dtype=torch.bfloat16), "row": row, "n": torch.tensor(3)})
    with torch.no_grad():
        loss.add_(1)
        row.add_(1)
    for odd in (torch.zeros(1, device="meta"), torch.zeros(2, device="meta")):
        with pytest.raises(TypeError, match="'odd'"):
            run.log({"odd": odd})
    run.finish()
    assert points(memory) == [("loss", 0, 0.5), ("half", 0, 1.5), ("n", 0, 3.0)]
    assert memory.records("metrics_json")[0]["values"] == ["[1.0,2.0]"]


@pytest.mark.gpu
def test_log_never_waits_for_a_real_device() -> None:
    """A queue of seconds on the device: log() returns at once, torch sees nobody wait, and all values are right."""
    torch = real_torch()
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    memory = Memory()
    run = start_run(memory)
    run.log({"loss": torch.zeros((), device="cuda")})  # allocates the pinned memory
    torch.cuda.synchronize()
    loss = torch.zeros((), device="cuda", dtype=torch.bfloat16)
    row = torch.zeros(3, device="cuda")
    torch.cuda._sleep(4_000_000_000)
    behind = torch.cuda.Event()
    behind.record()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(100):
            loss.add_(1)
            row.add_(1)
            run.log({"loss": loss, "row": row, "list": [loss]})
            loss.add_(1).sub_(1)
        assert not behind.query(), "the device was still busy when all was logged"
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert run.flush(60)
    run.finish()
    assert [value for _, _, value in points(memory)] == [float(step) for step in range(101)]
    (record,) = memory.records("metrics_json")
    assert record["values"][:2] == ["[1.0,1.0,1.0]", "[1.0]"]
    assert len(record["values"]) == 200
    assert not run.dropped


def test_arrays_that_only_numpy_can_read() -> None:
    """TensorFlow's tensors have neither item() nor tolist(), but numpy()."""
    import numpy as np

    class Eager:
        def __init__(self, values: Any) -> None:
            self.dtype = "float32"
            self._values = np.asarray(values, np.float32)

        def numpy(self) -> Any:
            return self._values

    assert freeze("x", Eager(0.5)) == 0.5
    assert freeze("x", Eager([[0.5]])) == 0.5
    assert freeze("x", Eager([0.5, 1.5])) == "[0.5,1.5]"


def test_arrays_of_jax() -> None:
    """One element is a number, also of bfloat16; more are a list."""
    jax = pytest.importorskip("jax.numpy", reason="jax is not installed")
    assert freeze("x", jax.asarray(0.5)) == 0.5
    assert freeze("x", jax.asarray([0.5], jax.bfloat16)) == 0.5
    assert freeze("x", jax.arange(3)) == "[0,1,2]"
    assert freeze("x", jax.asarray([0.5, 1.5], jax.bfloat16)) == "[0.5,1.5]"


def test_tensors_of_tensorflow() -> None:
    """One element is a number, more are a list; a variable's later change does not reach what was logged."""
    tensorflow = pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    variable = tensorflow.Variable([1.0, 2.0])
    frozen = freeze("x", variable)
    variable.assign([3.0, 4.0])
    assert frozen == "[1.0,2.0]"
    assert freeze("x", tensorflow.constant(0.5)) == 0.5
    assert freeze("x", tensorflow.constant([1.5], tensorflow.bfloat16)) == 1.5
