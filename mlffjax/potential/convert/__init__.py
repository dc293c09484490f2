"""Between mace-torch's state dictionaries and our parameters.

``torch_names`` says which slice of which torch tensor is which of our arrays. Both directions are
copies: no weight is rescaled, so a round trip is exact to the bit.
"""
