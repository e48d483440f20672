"""A layer or block on its own, in a folder that shows the difference without the network, the module or netdefs."""

from netdefs.debug.repro.write import check_folder, write_repro

__all__ = ["check_folder", "write_repro"]
