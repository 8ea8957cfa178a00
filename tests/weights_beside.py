"""Imported into a process, it has ONNX files keep their weights in a file beside them, however small they are."""

from __future__ import annotations

import backends.onnx

backends.onnx.EXTERNAL_ABOVE = 0
