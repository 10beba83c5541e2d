"""What the papers say: pure functions and modules, without terminal or threads."""
