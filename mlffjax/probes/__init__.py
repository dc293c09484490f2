"""Probes: questions put to a potential, with a number for an answer.

A module of this package is a kind of probe; its file name is the ``kind`` in a configuration.

Contract of a kind
    * ``Config``: a frozen configuration with ``name``, which names the records, and ``uses``, the
      fields of ``Context`` it reads besides elements and cutoff.
    * ``example() -> (Config, Context)``: a small instance without files; contract tests run on it.
    * ``build(config, context) -> Probe``: prepares graphs and references on the host.

Contract of a ``Probe``
    * ``measure: Potential -> Metrics`` is pure. It can be jitted, mapped over stacked potentials
      and, for metrics that are smooth in the energies, differentiated by parameters. Its arrays
      travel as arguments (``jax.tree_util.Partial``), so potentials of one model share one
      compilation.
    * Scalars among its results are metrics and have an entry in ``units``; the others are arrays.
    * ``reasons`` names metrics that cannot be had (no labels, no frames); what ``measure`` returns
      for them, if anything, is ignored.
    * Measuring is done in float64: the energies of interest are small differences.

Signs: an error is model minus reference.

Example
    >>> config, context = fixed_path.example()                                 # doctest: +SKIP
    >>> probe = fixed_path.build(config, context)                              # doctest: +SKIP
    >>> probe.measure(potential)["barrier"]                                    # doctest: +SKIP
"""
