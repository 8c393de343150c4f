"""`python -m runtide_dashboards`: serve the dashboard."""

from __future__ import annotations

import argparse

import uvicorn


def main() -> None:
    """Serve until a signal says stop."""
    parser = argparse.ArgumentParser(prog="python -m runtide_dashboards", description="Serve the dashboard.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8501, help="port to listen on (default: %(default)s)")
    arguments = parser.parse_args()
    # Streamlit sets up logging for the whole process, uvicorn's too: see asgi.py.
    uvicorn.run(
        "runtide_dashboards.asgi:app", host=arguments.host, port=arguments.port, log_config=None, access_log=False
    )


if __name__ == "__main__":
    main()
