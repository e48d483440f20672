"""Faults to plant in networks, to see whether `netdefs.compare` finds them.

`catalogue` has the faults, `planting` puts one into a network while that is being defined, `networks` has networks to
put them in, and `scoring` compares. Nothing here is known to netdefs itself.
"""
