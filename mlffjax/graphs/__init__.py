"""Structures as fixed-shape arrays: the only thing a potential sees.

``Graph`` holds one or many structures with a *dense neighbour layout*: every atom owns the same
number of slots, slot ``(i, s)`` is the directed edge from sender ``neighbors[i, s]`` to receiver
``i``, and ``vector[i, s] = positions[neighbors[i, s]] - positions[i] + shifts[i, s] @ cell``.

Contract
    * Shifts are explicit integers, never a minimum image, so cells thinner than twice the cutoff
      are exact.
    * Every edge has its mirror image in the list, and ``reverse`` says where. Gathering from
      senders and summing into senders are then both gathers (``exchange``): no scatter anywhere.
    * Padded atoms and slots are masked in one place (``Graph.edge_vectors`` puts padded edges
      outside any cutoff); models need no further care.
    * ``skin`` keeps a list valid while atoms move and prunes it to the cutoff on the device.
    * Lists that do not fit a requested ``Shape`` raise ``CapacityError``; nothing is truncated.

A band of images or a set of training batches is a ``Graph`` with a leading axis
(``mlffjax.trees.stack``), made of graphs built with one ``Shape``.

Example
    >>> from mlffjax.graphs.batching import build
    >>> graph = build([system], elements=(24, 51, 52), cutoff=5.0)   # doctest: +SKIP
"""
