"""Kinds of candidates: each file is one source of structures that might be labelled.

A module has ``Config``, ``example()`` and ``propose(config, given)``, which returns frames without
labels in an order that depends on its arguments alone. A config has ``path_names()``: the paths it
takes structures from, so that a campaign can refuse those that are held out.
"""
