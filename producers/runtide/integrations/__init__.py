"""Callbacks, loggers and trackers for frameworks, one module each. Importing a module needs its framework."""
