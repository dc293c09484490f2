"""Kinds of labellers: each file is one source of reference energies and forces.

A module has ``Config`` (a ``_labeler.Section``), ``example()`` and ``build(config, base)``, which
returns a ``_labeler.Labeler``: its ``label`` takes one structure and returns energy, forces and
stress. It raises ``LabelError`` with the reason why there is no label, or ``LabelPending`` if the
label is computed elsewhere and not there yet. ``active.labelling`` does the rest: it remembers
every outcome, shares the work among processes, and goes on after failures.
"""
