"""Molecular dynamics on the device: a run is many compiled steps per visit of the host.

``run.run(potential, system, MdConfig(...))`` is all that most need. Below it, in the order of the
data: ``config`` (settings), ``preparation`` (checks of what the user gave), ``ensembles`` (one file
per way to move atoms, on the ``State`` of ``state``), ``evaluation`` and ``neighborhood`` (forces
from a list of neighbours that holds for many steps), ``loop`` (the compiled part: steps, checks,
samples), ``runner`` (the host's part: lists, shapes), ``recording`` with ``trajectory`` (samples to
memory or to H5MD files), ``checkpoint`` (the full state).

Contract
    * Positions are never wrapped and positions, velocities and sums are float64, whatever precision
      the potential computes in.
    * The momentum of the whole is zero: 3N - 3 degrees of freedom hold kinetic energy.
    * A neighbour list is never used beyond its skin and no neighbour is lost for lack of room: the
      loop stops before, the host helps, and it goes on from the same state. Nothing is replayed.
    * Noise depends on seed, replica, stage and step only. Cutting a run into pieces, by checkpoints
      or by killing it, changes no bit of it (on CPUs; on one machine with the same versions).
    * Lanes (models x replicas) run in lock step and do not influence each other. Each equals a
      run of its own: bit by bit where lanes are evaluated in turn (CPU), to rounding elsewhere.
    * A lane that explodes keeps its last good state, with status, reason, step and atom.
    * Time is ``step * timestep``; every stage counts from 0, and its first sample is of step 0.

Heat fluxes (``heat_flux`` and its kin) are observers that a run may be given. Energies are
interaction energies; trajectories say what to add.
"""
