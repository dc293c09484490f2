"""Kinds of energy model, one file each; the file name is the ``kind`` of a ``model:`` section.

A source has ``Config`` (hyper-parameters), ``example() -> Config`` (a small one) and
``energy_model(config, elements) -> EnergyModel``, whose ``settings`` lead back to the section.
"""
