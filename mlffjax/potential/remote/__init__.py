"""Calculators that run in the Python of another environment; see ``sources.ase``.

``server`` is the program on the other side, ``client`` starts it and talks to it.
"""
