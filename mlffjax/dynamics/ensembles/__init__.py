"""Ways to move atoms; one file each, named as the ``kind`` in YAML.

A step is two functions around the one evaluation of forces, so that a run can stop between them,
before a neighbour list that no longer holds is used. A module has

    ``Config``        a ``Section``: frozen choices with their units;
    ``example()``     a ``Config`` that works for any crystal;
    ``parameters(config)``                       internal units; None where there is no such bath
    ``init(parameters, conditions, state)``      the bath's variables
    ``move(parameters, conditions, state)``      new positions (and cell); forces are old now
    ``complete(parameters, conditions, state)``  the rest, with the forces at the new positions
    ``conserved(parameters, conditions, state)`` what a perfect integrator would keep, eV

All but the first three are pure and compilable. The momentum of the whole is zero in every
ensemble and stays so; so kinetic energy has 3N - 3 degrees of freedom everywhere, and pressures
miss the kT/V of the centre of mass (``_barostat`` says how barostats account for it).

Ours rather than jax-md 0.2.29: its thermostats count 3N degrees of freedom, its CSVR uses one key
twice, its NPT moves fractional coordinates by a term too many, it rounds the time step to single
precision, and its import takes ten seconds.
"""
