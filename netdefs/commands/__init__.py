"""The commands of `netdefs`, one a file: each has `add`, which declares it, and `command`, which does it."""
