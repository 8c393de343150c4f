"""The script that Streamlit runs, in a folder of its own: Streamlit would run a `pages` folder beside it by itself."""

from runtide_dashboards.shell import main

main()
