"""The dashboard as a Streamlit script: `streamlit run dashboards/app.py`."""

from runtide_dashboards.shell import main

main()
