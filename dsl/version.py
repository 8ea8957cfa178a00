"""The version of dslc: that of the distribution, or of the checkout when nothing is installed."""

from __future__ import annotations

FALLBACK = "0.1.0"


def version() -> str:
    """The version that is installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("dslc")
    except PackageNotFoundError:
        return FALLBACK
