"""The start of the dashboard."""

import subprocess
import sys

# In a process of its own: what is imported and configured there is the whole process's.
START = """
import asyncio, gc, sys
from runtide_dashboards import asgi

async def start():
    async with asgi._lifespan(asgi.app):
        pass

asyncio.run(start())
assert "sklearn" not in sys.modules and gc.get_freeze_count() > 100_000
"""


def test_the_start_leaves_modules_out_of_what_is_looked_at_after_each_run():
    """Streamlit's collection of garbage, that is; and scikit-learn, which few pages need, is left to its process."""
    subprocess.run([sys.executable, "-c", START], check=True, timeout=120)
