"""How weights are made: data, one loop, one file per method."""
