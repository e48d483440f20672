"""The version, in a module of its own: metadata files carry it."""

__version__ = "0.1.0"
