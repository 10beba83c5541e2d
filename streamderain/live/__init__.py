"""Live cameras: the same derainer as for files; what is new is time."""
