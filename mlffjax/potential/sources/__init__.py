"""Kinds of energy model, one file each; the file name is the ``kind`` of a ``model:`` section.

A source has ``Config`` (hyper-parameters) and ``energy_model(config, elements) -> EnergyModel``,
whose ``settings`` lead back to the section.
"""
