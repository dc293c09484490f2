"""Training: strategies make recipes, one loop trains them.

Contract
    * A *strategy* is a file in ``strategies``: a ``Config`` and a ``build`` that turns ingredients
      (data, architecture, foundation) into a ``Recipe``.
    * A ``Recipe`` says what is trainable, how that becomes a ``Potential`` (``realize``), what is
      minimised and on what. The loop, ``fit.fit``, sees nothing else. All strategies therefore
      end in potentials of one tree, which can be stacked and evaluated together.
    * Potentials know interaction energies. Targets are total energies minus the reference
      energies (E0) of the potential, taken in float64 on the host; ``reference_energies`` chooses
      the E0s and refuses to mix reference methods silently.
    * A step is compiled once per array shape and shared by all runs of a process: seeds, strategies
      and learning rates are data. The host looks at the device every few steps only.
    * Runs that differ in numbers only (``members.groups``) can be trained together in one program,
      ``fleet.fit_many``; each ends as it would alone, to rounding.
    * Batches come from a ``feed``: structures in memory, or on disk if they would fill it
      (``storage``); the bits are the same.
    * The state of a run is kept in files (``checkpoints.Keeper``); a killed run goes on from there
      to the same bits on the same CPU, in other company to rounding.
    * The rows of a batch may be spread over devices and processes (``devices``); the steps are
      equal up to the order of sums.
    * A diverging run is a result (``Status.DIVERGED``) with the best potential met, not an error.

Units: eV, Å; energies are compared per atom, forces and stresses per component.

Example
    >>> from mlffjax.training import fit, strategies                     # doctest: +SKIP
    >>> recipe = strategies.finetune.build(config, ingredients, key=key) # doctest: +SKIP
    >>> fitted = fit.fit(recipe, train, validation, training, seed=0)    # doctest: +SKIP
    >>> fitted.status, fitted.best.validation.forces_rmse                # doctest: +SKIP
"""
