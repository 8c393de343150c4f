"""The start of the dashboard."""

import asyncio
import gc
import sys
import threading

from runtide_dashboards import asgi


def test_the_start_gets_ready_what_only_some_pages_need():
    """In a thread; Streamlit's collection of garbage after each run then leaves out what stays."""

    async def start():
        async with asgi._lifespan(asgi.app):
            return next(one for one in threading.enumerate() if one.name == "runtide-warm")

    try:
        asyncio.run(start()).join(60)
        assert "sklearn.ensemble" in sys.modules and gc.get_freeze_count() > 100_000
    finally:
        gc.unfreeze()
