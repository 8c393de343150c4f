"""Whether this process is a notebook's kernel."""

from __future__ import annotations

import sys


def in_notebook() -> bool:
    """Whether the code runs in the kernel of a notebook, where cells are run again in any order."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config
