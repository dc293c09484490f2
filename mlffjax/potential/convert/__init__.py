"""Between mace-torch and our parameters.

``torch_names`` says which slice of which torch tensor is which of our arrays. Both directions are
copies: no weight is rescaled, so a round trip is exact to the bit.

``importer.convert`` reads a model file without torch and without running any of it: ``read_torch``
and ``inert_pickle`` turn the file into names and arrays, ``architecture`` recovers hyper-parameters
and refuses by name what we do not compute, ``constants`` accounts for tensors that are no weights.
``elements`` drops the elements that a user does not need.
"""
