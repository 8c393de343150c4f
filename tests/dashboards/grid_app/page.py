"""A page with one panel grid; its URL says how many runs and panels."""

import json

import streamlit as st

from runtide_dashboards.colours import styles
from runtide_dashboards.grid import panel_grid

st.set_page_config(layout="wide")
asked = st.query_params
count = int(asked.get("runs", "3"))
keys = ["val/loss", "val/acc", "train/loss", "train/lr", "train/nan", "train/spike", "train/one", "train/short"]
keys += ["val/none", "sys/slow"] if "states" in asked else []
keys += [f"many/{i}" for i in range(int(asked.get("many", "0")))]
if "key" in asked:
    keys = [asked["key"]]
names = asked.get_all("name") or ["base-v3", "wd-0.1", "warm-500"]
looks = styles(range(count))
runs = [
    {
        "id": f"e/p/run-{i}", "label": names[i] if i < len(names) else f"run-{i}", "colour": looks[i].colour,
        "dash": looks[i].dash, "baseline": i == 1, "live": i == 0 and "live" in asked,
    }
    for i in range(count)
]  # fmt: skip
groups = None
if "groups" in asked:
    halves = {"lr=0.1": runs[::2], "lr=0.01": runs[1::2]}
    groups = [
        {
            "id": name, "label": name, "colour": look.colour, "dash": look.dash, "baseline": False,
            "runs": [run["id"] for run in members],
        }
        for (name, members), look in zip(halves.items(), looks, strict=False)
    ]  # fmt: skip
st.session_state["runs_of_script"] = st.session_state.get("runs_of_script", 0) + 1
view, focus = panel_grid(
    {
        "endpoint": "api/series", "export": "api/export", "runs": runs, "groups": groups,
        "panels": [{"key": key, "title": key} for key in keys], "view": json.loads(asked.get("view", "{}")),
        "poll": 0.3, "attempts": False, "zone": "Europe/Berlin", "baseline_label": runs[1]["label"],
    },
    key="grid",
)  # fmt: skip
if view:
    st.query_params["view"] = json.dumps(view)
st.code(json.dumps({"view": view, "focus": focus, "runs": st.session_state["runs_of_script"]}), language=None)
