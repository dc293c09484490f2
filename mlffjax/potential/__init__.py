"""Energy models behind one interface: weights in, per-atom energies out.

Contract
    * An ``EnergyModel`` is a frozen, hashable object without arrays. Its ``atomic_energies`` maps
      parameters and a ``Graph`` to one *interaction* energy per atom: the total energy minus the
      reference energies (E0) of the atoms. Differences between structures of one composition need
      nothing else, and single precision is not wasted on constants of hundreds of eV.
    * A ``Potential`` joins parameters (leaves) with a model (static). ``trees.stack`` of potentials
      with equal models is again a potential, so ``vmap`` runs over ensembles, seeds and
      strategies, and ``grad`` differentiates by parameters.
    * Energies, forces, stress and Hessian products follow once, for every model, in
      ``derivatives``. Reference energies are added on the host in float64
      (``Potential.reference_energy``).
    * Name, chemistry, functional, provenance and checksum live in a ``Card`` beside the weights;
      ``store`` writes and reads the pair as ``weights.safetensors`` and ``card.json``.

Signs and units: Å, eV; forces are minus the gradient; stress is dE/dstrain / volume (ASE sign,
negative when the cell wants to expand), eV/Å^3.

Example
    >>> from mlffjax.potential.store import load
    >>> potential, card = load("bundled:generalist")            # doctest: +SKIP
    >>> derivatives.energies(potential, graph)                  # doctest: +SKIP
"""
