"""runtide."""
