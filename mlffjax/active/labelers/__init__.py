"""Kinds of labellers: each file is one source of reference energies and forces.

A module has ``Config`` (a ``_labeler.Section``), ``example()`` and ``build(config, base)``, which
returns a ``_labeler.Labeler``: its ``label`` takes one structure and returns energy, forces and
stress. It raises ``LabelError`` with the reason why there is no label, or ``LabelPending`` if the
label is computed elsewhere and not there yet. ``active.labelling`` does the rest: it remembers
every outcome, shares the work among processes, and goes on after failures.

To point a labeller at another code:

* it has a calculator of ASE that Python can import here or in another environment: ``kind: ase``
  with its ``factory``; nothing is to be written;
* it reads inputs and leaves outputs, on this machine or in a queue elsewhere: ``kind: files`` with
  a ``program``; a new one is one file of ``active.programs``, whose docstring says what is in it.
  As long as there is none, leave ``program`` out, compute the structures in your own way, and leave
  each result as ``result.extxyz``, or another format of ASE, in its directory;
* neither: a new file here.

A labeller must not depend on what was labelled before: the same structure gets the same label in
any order and any process.
"""
