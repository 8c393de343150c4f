"""The panel grid alone, over made-up series: `uvicorn --app-dir tests/dashboards/grid_app asgi:app`."""

from pathlib import Path

import streamlit as st
from series import export, series, switch
from starlette.routing import Route
from streamlit.web import bootstrap

bootstrap.load_config_options(
    {
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "minimal",
        "server.fileWatcherType": "none",
        "server.headless": True,
        "logger.level": "warning",
        "theme.light.primaryColor": "#2864BA",
        "theme.dark.primaryColor": "#2864BA",
        "theme.baseFontSize": 14,
        "theme.paddingTop": "0.5rem",
    }
)
app = st.App(
    Path(__file__).parent / "page.py",
    routes=[
        Route("/api/series", series, methods=["POST"]),
        Route("/api/export", export),
        Route("/switch", switch, methods=["POST"]),
    ],
)
