"""Sweeps: many runs of one search, asked for and told by agents. Imported only where a sweep is used."""
