"""CUDA tensors to the host without waiting for the device.

    log() ──copy_(non_blocking), event.record()──▶ device ──▶ pinned memory ──event.query()──▶ numbers

The copy is queued on the stream that is current, so it takes the value that the tensor has there at the time of log(),
also when the next operation changes it in place: a stream of our own would have to keep that operation waiting. It goes
to pinned memory, since the driver would wait for the device before a copy to any other.

torch is never imported here: a value that is one of its tensors proves that it is there.
"""

from __future__ import annotations

from collections import deque
from typing import Any

# Numbers that may be under way at once. Another allocation of pinned memory could stop the device.
_SLOTS = 1 << 16
_SLOT_BYTES = 8


class Copy:
    """One tensor on its way to the host."""

    __slots__ = ("slot", "target", "value")

    def __init__(self, target: Any, slot: int | None) -> None:
        self.target = target
        self.slot = slot
        # A number or a list of them, once the transfer was read.
        self.value: Any = None


class Transfer:
    """The tensors of one call on their way to the host, and per device what says that they are there.

    Attributes:
        read: The copies have their values.
        failed: Why they never will; empty while they may.
    """

    __slots__ = ("_claims", "_pool", "copies", "events", "failed", "read", "streams")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.copies: list[Copy] = []
        self.streams: dict[Any, Any] = {}
        self.events: dict[Any, Any] = {}
        self.read = False
        self.failed = ""
        # Whoever pops it reads and gives back, once: a lock could be left held by a fork or met by a signal handler.
        self._claims = [None]

    def copy(self, tensor: Any) -> Copy:
        """Queue the copy of a tensor.

        Raises:
            TypeError: It has no value yet.
        """
        return self._pool.copy(tensor, self)

    def send(self) -> None:
        """Nothing more is queued."""
        if self.copies:
            self._pool.send(self)

    def has_ended(self) -> bool:
        """Look, without waiting, and read what has arrived; true also when the device failed."""
        if self.read or self.failed:
            return True
        try:
            if not all(event.query() for event in self.events.values()):
                return False
            self._claims.pop()
        except IndexError:
            return self.read  # another thread reads it at this moment
        except RuntimeError as error:  # of an earlier operation; the device tells it to whoever asks
            self.failed = str(error).partition("\n")[0]
            return True
        for copy in self.copies:
            copy.value = copy.target.tolist() if copy.slot is None else copy.target.item()
            copy.target = None
        self.read = True
        self._pool.take_back(self)
        return True


class Pool:
    """Pinned memory for numbers: one allocation, whose slots are used again and again. Any thread may use it.

    Args:
        torch: The module.
        pin: False where there is no device, for tests.
    """

    def __init__(self, torch: Any, pin: bool = True) -> None:
        self._torch = torch
        self._pin = pin
        # What is made in inference mode could be changed in that mode alone.
        with torch.inference_mode(False):
            self._slab = torch.empty(_SLOTS * _SLOT_BYTES, dtype=torch.uint8, device="cpu", pin_memory=pin)
        self._views: dict[Any, Any] = {}
        self._free = deque(range(_SLOTS))
        self._events: dict[Any, list[Any]] = {}
        # Also those that nobody waits for any more: the device still writes to their slots.
        self._under_way: set[Transfer] = set()

    def copy(self, tensor: Any, transfer: Transfer) -> Copy:
        """See `Transfer.copy`."""
        source = tensor.detach()  # autograd would else take our memory for a part of the model
        if self._torch.cuda.is_current_stream_capturing():
            raise TypeError("a CUDA graph is being captured, so that it has no value yet; log it after replay()")
        # Else the host would conjugate or negate memory to which nothing has come yet.
        if source.is_conj() or source.is_neg():
            source = source.resolve_conj().resolve_neg()
        copy = self._target(source)
        transfer.copies.append(copy)
        device = source.device
        if device not in transfer.streams:
            transfer.streams[device] = self._torch.cuda.current_stream(device)
        # One element of any number of dimensions is a number.
        copy.target.copy_(source.reshape(()) if copy.slot is not None and source.dim() else source, non_blocking=True)
        # Where that is not the tensor's own stream, its memory must not be used again before the copy is made.
        source.record_stream(transfer.streams[device])
        return copy

    def send(self, transfer: Transfer) -> None:
        """Have the devices say when what was queued for a transfer is done."""
        for device, stream in transfer.streams.items():
            try:
                event = self._events[device].pop()
            except LookupError:
                event = self._torch.cuda.Event()
            event.record(stream)
            transfer.events[device] = event
        self._under_way.add(transfer)

    def take_back(self, transfer: Transfer) -> None:
        """Use the slots and the events of a transfer again."""
        self._free.extend([copy.slot for copy in transfer.copies if copy.slot is not None])
        for device, event in transfer.events.items():
            self._events.setdefault(device, []).append(event)
        transfer.events = {}
        self._under_way.discard(transfer)

    def _target(self, source: Any) -> Copy:
        """Pinned memory of the source's type: a conversion would be made on the host, before anything has come."""
        size = source.element_size()
        if source.numel() == 1 and size <= _SLOT_BYTES and (slot := self._slot()) is not None:
            return Copy(self._view(source.dtype)[slot * (_SLOT_BYTES // size)], slot)
        # torch keeps pinned memory that is free again, by size.
        target = self._torch.empty(source.shape, dtype=source.dtype, device="cpu", pin_memory=self._pin)
        return Copy(target, None)

    def _slot(self) -> int | None:
        if not self._free:
            for transfer in list(self._under_way):
                transfer.has_ended()
        try:
            return self._free.popleft()
        except IndexError:
            return None

    def _view(self, dtype: Any) -> Any:
        view = self._views.get(dtype)
        if view is None:
            with self._torch.inference_mode(False):
                view = self._views[dtype] = self._slab.view(dtype)
        return view


_pool: Pool | None = None
# The parent's: here their events cannot be asked, nor even be destroyed.
_inherited: list[Pool] = []


def pool(torch: Any) -> Pool:
    """The pool of this process."""
    global _pool
    if _pool is None:
        _pool = Pool(torch)
    return _pool


def become_child() -> None:
    """In a forked child: what is under way is the parent's."""
    global _pool
    if _pool is not None:
        _inherited.append(_pool)
        _pool = None
