"""Ways to get a potential for a material; one file each, named as the ``kind`` in YAML.

A strategy module has

    ``Config``      a ``Section``: frozen choices, with its ``kind`` and what it starts from;
    ``example()``   a ``Config`` that works on any data, for tests and documentation;
    ``build(config, ingredients, *, key) -> Recipe``

``build`` takes what it needs from the ``Ingredients`` and refuses by name what is missing. The
potentials of all strategies with one foundation or architecture have the same tree, and at step 0
``realize(trainable)`` is what the strategy starts from.
"""
