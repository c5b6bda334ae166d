"""Jobs: what happens in each, one file per kind."""
