"""Seeded faults: sound specs of ours, each with one mistake of the kind that people make.

The TOML files of this folder have them by kind. A fault is a replacement in the text of a spec; `names` are patterns that the messages of
whoever catches it have to contain, so that an error about something else does not count. `python -m tests.faults` writes docs/faults.md.
"""
