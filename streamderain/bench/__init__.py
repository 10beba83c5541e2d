"""Measurements of speed: what `streamderain bench` runs, one kind in each file."""
