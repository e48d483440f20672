"""A report as one HTML file: its data as JSON, and the script and style that show it."""

from netdefs.debug.page.html import page

__all__ = ["page"]
