"""The grammar of `.dl` (dl.lark) and the JSON Schema of the YAML form (spec.schema.json), as package data."""

from importlib.resources import files

DL_GRAMMAR = files(__name__).joinpath("dl.lark").read_text(encoding="utf-8")
