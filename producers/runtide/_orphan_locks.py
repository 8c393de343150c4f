"""Locks that a forked child inherits from threads which it does not have.

A thread of the parent may be looking up an address at the moment of the fork: librdkafka's do for every connection.
glibc's `getaddrinfo` holds a static lock meanwhile (`check_pf.c`), which `fork` copies but does not release. Nobody in
the child ever will: every lookup there would wait for ever, that of the run's own link and those of whoever trains.
"""

from __future__ import annotations

import _thread
import ctypes
import os
import platform
import socket
import sys
from contextlib import suppress

# The number of the system call that waits for a lock; 0 where it is not known.
_FUTEX = {"x86_64": 202, "aarch64": 98}.get(platform.machine(), 0)
_WAIT, _WAKE = 0 | 128, 1 | 128  # FUTEX_WAIT and FUTEX_WAKE, each with FUTEX_PRIVATE_FLAG
# What glibc's locks hold while somebody has one and others wait for it.
_CONTENDED = 2
# Seconds between two looks at a lookup that is not done, which usually takes 0.0003, and how many of them.
_LOOK_INTERVAL, _LOOKS = 0.01, 100
# Opened now: a child should not have to.
_LIBC: ctypes.CDLL | None = ctypes.CDLL(None) if sys.platform == "linux" else None


def release() -> None:
    """In a forked child, before it has threads: release what keeps address lookups from ending.

    One is made, in a thread, of an address that needs no name server. If it waits for a lock of the C library while
    there is no thread but it and this one, which has none, then the owner was left behind in the parent.
    """
    if _LIBC is None or not _FUTEX:
        return
    done, thread = _thread.allocate_lock(), 0
    done.acquire()

    def look_up() -> None:
        nonlocal thread
        thread = _thread.get_native_id()
        with suppress(OSError):
            socket.getaddrinfo(b"127.0.0.1", 1, flags=socket.AI_ADDRCONFIG)  # as bytes: a text has Python import codecs
        done.release()

    try:
        _thread.start_new_thread(look_up, ())
    except RuntimeError:  # no more threads
        return
    for _ in range(_LOOKS):
        if done.acquire(timeout=_LOOK_INTERVAL):
            return
        if thread and (address := _awaited(_LIBC, thread)) and len(os.listdir("/proc/self/task")) == 2:
            ctypes.c_uint32.from_address(address).value = 0
            _LIBC.syscall(_FUTEX, ctypes.c_void_p(address), _WAKE, 1)


def _awaited(libc: ctypes.CDLL, thread: int) -> int:
    """The address of the C library's lock that a thread waits for; 0 when it waits for none."""
    try:
        with open(f"/proc/self/task/{thread}/syscall", "rb") as file:
            number, *arguments = file.read().split()[:5]
    except OSError:
        return 0
    if number != b"%d" % _FUTEX:
        return 0
    address, operation, value, timeout = (int(argument, 16) for argument in arguments)
    if (operation, value, timeout) != (_WAIT, _CONTENDED, 0):
        return 0
    lookup = ctypes.cast(libc.getaddrinfo, ctypes.c_void_p).value
    return address if _library(libc, address) == _library(libc, lookup) else 0


class _Symbol(ctypes.Structure):
    """`Dl_info` of dladdr(3)."""

    _fields_ = (
        ("file", ctypes.c_char_p), ("base", ctypes.c_void_p), ("name", ctypes.c_char_p), ("address", ctypes.c_void_p)
    )  # fmt: skip


def _library(libc: ctypes.CDLL, address: int | None) -> int | None:
    """Where the library is loaded that an address belongs to."""
    symbol = _Symbol()
    found = libc.dladdr(ctypes.c_void_p(address), ctypes.byref(symbol))
    base: int | None = symbol.base
    return base if found else None
