"""The dashboard as an ASGI application, for uvicorn and for `runtide up`."""

import gc
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import streamlit as st
from starlette.middleware import Middleware
from streamlit import config
from streamlit.web import bootstrap

# The pages and what they need take seconds to import: the first visitor should not wait for that.
from runtide_dashboards import auth, importance_forest
from runtide_dashboards.pages import compare, home, run, runs, sweep, system  # noqa: F401
from runtide_dashboards.routes import routes

# Flags outrank any config.toml near the working directory, so the dashboard is the same wherever it is started.
bootstrap.load_config_options(
    {
        "browser.gatherUsageStats": False,
        "client.showErrorDetails": "none",
        "client.showErrorLinks": False,
        "client.toolbarMode": "minimal",
        "server.fileWatcherType": "none",
        "server.headless": True,
        "logger.level": "warning",
        "runner.magicEnabled": False,
        # Per appearance: one for all of them would leave no dark one to follow the system with.
        "theme.light.primaryColor": "#2864BA",
        # Captions are written in a share of it, and have to be read too.
        "theme.light.textColor": "#171614",
        "theme.dark.primaryColor": "#2864BA",
        "theme.baseFontSize": 14,
        "theme.headingFontSizes": ["20px", "16px", "14px", "14px", "14px", "14px"],
        "theme.baseRadius": "6px",
        "theme.paddingTop": "0.5rem",
        "theme.linkUnderline": False,
    }
)
_PASSWORD = os.environ.get(auth.PASSWORD, "")
if not _PASSWORD and not config.get_option("server.allowedHosts"):
    config.set_option("server.allowedHosts", list(auth.LOOPBACK))
_BASE = config.get_option("server.baseUrlPath")


def _warm() -> None:
    # The first forest imports scikit-learn, which takes seconds.
    importance_forest.grow(np.arange(4.0)[:, np.newaxis], np.arange(4.0))
    # Streamlit collects garbage after each run of a script, and all scripts wait for that: it need not look at modules.
    gc.freeze()


@asynccontextmanager
async def _lifespan(_: st.App) -> AsyncIterator[None]:
    """Get the rest ready beside the first visitors."""
    threading.Thread(target=_warm, name="runtide-warm", daemon=True).start()
    yield


app = st.App(
    Path(__file__).parent / "entry" / "app.py",
    routes=routes(_BASE),
    middleware=[Middleware(auth.Guard, password=_PASSWORD, base=_BASE)],
    lifespan=_lifespan,
)
