"""Between mace-torch and our parameters.

``torch_names`` says which slice of which torch tensor is which of our arrays. Both directions are
copies: no weight is rescaled, so a round trip is exact to the bit. (Three things are no copies:
keeping one of several ``heads``, keeping few ``elements``, and a reduced product basis, whose
weights ``bases`` lifts into the full one. They change no prediction.)

``importer.convert`` reads a model file without torch and without running any of it: ``read_torch``
and ``inert_pickle`` turn the file into names and arrays, ``lora`` adds low-rank updates up,
``parts`` refuses by name what we do not compute, ``architecture`` recovers hyper-parameters, and
``constants`` accounts for tensors that are no weights.
"""
