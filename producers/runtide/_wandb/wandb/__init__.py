"""What `import wandb` finds in scripts that `runtide exec` runs; replaces itself by runtide's module."""

import sys

try:
    from runtide._shim import take_place
except ModuleNotFoundError as error:
    raise ImportError(
        f"`runtide exec` stands in for wandb, but {error.name} is not installed for {sys.executable}: "
        "run `pip install runtide` with that Python, or exec the Python that has it"
    ) from error

take_place()
