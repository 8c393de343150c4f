"""The start of the dashboard."""

import subprocess
import sys

# In a process of its own: what is imported and configured there is the whole process's.
START = """
import asyncio, gc, sys, threading
from runtide_dashboards import asgi

async def start():
    async with asgi._lifespan(asgi.app):
        return next(one for one in threading.enumerate() if one.name == "runtide-warm")

assert "sklearn.ensemble" not in sys.modules
asyncio.run(start()).join(60)
assert "sklearn.ensemble" in sys.modules and gc.get_freeze_count() > 100_000
"""


def test_the_start_gets_ready_what_only_some_pages_need():
    """In a thread; Streamlit's collection of garbage after each run then leaves out what stays."""
    subprocess.run([sys.executable, "-c", START], check=True, timeout=120)
