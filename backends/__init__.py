"""The targets: each spells the same graph in its own words. Loaded by name, when asked for (see base.py)."""
