"""The dashboard as an ASGI application, for uvicorn and for `runtide up`."""

from pathlib import Path

import streamlit as st
from streamlit.web import bootstrap

# The pages and what they need take seconds to import: the first visitor should not wait for that.
from runtide_dashboards.pages import compare, runs  # noqa: F401

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
        "theme.dark.primaryColor": "#2864BA",
        "theme.baseFontSize": 14,
        "theme.headingFontSizes": ["20px", "16px", "14px", "14px", "14px", "14px"],
        "theme.baseRadius": "6px",
        "theme.paddingTop": "0.5rem",
        "theme.linkUnderline": False,
    }
)

app = st.App(Path(__file__).parent / "entry" / "app.py")
