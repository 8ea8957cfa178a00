"""Mutation testing of the shape rules, the simplification rules and the ONNX rows: would the tests notice a small mistake there?

Each mutant is the source with one change (`mutators.py`). The tests that reach the changed statement (`reach.py`) run on it in a process of
its own (`trial.py`): it is killed where one fails. `python -m tests.mutation` runs a sample and writes docs/mutants.md.
"""
