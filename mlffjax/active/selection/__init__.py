"""Kinds of selection: each file is one way to say which candidates to label next.

A module has ``Config`` (a ``_selection.Section``), ``example()`` and ``select(config, pool, count,
seed) -> Chosen``. Indices are given in the order of choice, ``count`` of them or all there are; the
same pool, count and seed give the same choice.
"""
