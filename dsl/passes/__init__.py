"""Passes: a program in, a better one out, with the same meaning. One file a pass; pipeline.py says which run and in what order."""
