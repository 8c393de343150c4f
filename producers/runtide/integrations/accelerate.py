"""Hugging Face Accelerate: what an `Accelerator` logs.

Either name it, which needs this module to have been imported before the Accelerator is made:

    import runtide.integrations.accelerate
    accelerator = Accelerator(log_with="runtide")
    accelerator.init_trackers("project", config={...}, init_kwargs={"runtide": {"tags": ["small"]}})

or hand it over: `Accelerator(log_with=RuntideTracker("project"))`.
"""

from __future__ import annotations

from typing import Any

from accelerate import tracking

import runtide
from runtide._run import Run

__all__ = ["RuntideTracker"]


class RuntideTracker(tracking.GeneralTracker):
    """Logs from the main process, to the current run or to one that it begins.

    Args:
        run_name: The project, as Accelerate's trackers have it.
        arguments: What else `runtide.init` takes.
    """

    name = "runtide"
    requires_logging_directory = False
    main_process_only = True

    def __init__(self, run_name: str, **arguments: Any) -> None:
        super().__init__()
        self._arguments = {"project": run_name, **arguments}
        self._run: Run | None = None

    @property
    def tracker(self) -> Run | None:
        """The run; None where another process logs."""
        return self._run

    @tracking.on_main_process  # type: ignore[untyped-decorator]
    def start(self) -> None:
        """Begin the run."""
        self._run = runtide.init(**self._arguments)

    @tracking.on_main_process  # type: ignore[untyped-decorator]
    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Set values in the run's configuration."""
        self._started.config.update(values, allow_val_change=True)

    @tracking.on_main_process  # type: ignore[untyped-decorator]
    def log(self, values: dict[str, Any], step: int | None = None, **options: Any) -> None:
        """Log values at a step: see `Run.log`, which takes the options."""
        self._started.log(values, step=step, **options)

    @tracking.on_main_process  # type: ignore[untyped-decorator]
    def log_images(self, values: dict[str, Any], step: int | None = None, **options: Any) -> None:
        """Log lists of images at a step."""
        image: Any = runtide.Image  # type: ignore[attr-defined]
        self.log({key: [image(one) for one in images] for key, images in values.items()}, step, **options)

    @tracking.on_main_process  # type: ignore[untyped-decorator]
    def log_table(
        self,
        table_name: str,
        columns: list[str] | None = None,
        data: list[list[Any]] | None = None,
        dataframe: Any = None,
        step: int | None = None,
        **options: Any,
    ) -> None:
        """Log a table, given as columns and rows or as a data frame."""
        table: Any = runtide.Table  # type: ignore[attr-defined]
        self.log({table_name: table(columns=columns, data=data, dataframe=dataframe)}, step, **options)

    @tracking.on_main_process  # type: ignore[untyped-decorator]
    def finish(self) -> None:
        """End the run."""
        self._started.finish()

    @property
    def _started(self) -> Run:
        if self._run is None:
            self.start()
        assert self._run is not None
        return self._run


# Before Accelerate 1.13 names cannot be registered: the tracker is handed over there.
if hasattr(tracking, "register_tracker_class"):
    tracking.register_tracker_class(RuntideTracker)
