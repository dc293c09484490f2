"""MACE (Batatia et al., arXiv:2206.07697) in a formulation that is fast on every device.

The function is that of mace-torch's ``MACE`` and ``ScaleShiftMACE`` in all generations from MP-0 to
MH-1; weights have its meaning and normalisation, so checkpoints move both ways. What tells
generations apart lies side by side: ``radial`` functions, ``transforms`` of the distance, the
``repulsion`` of nuclei, ``radial_mlp`` without and with biases, kinds of ``interaction`` and the
``gate`` of one, ``readout``. ``plan`` derives from the hyper-parameters what each layer is made of.
How it is computed differs:

    * Edges live in dense slots (``graphs``), so the sum over neighbours is a batched matmul.
    * ``message``: Clebsch-Gordan coefficients meet the harmonics, which have no channels, and
      coupling and sum over neighbours are one small matmul per atom and path. In the first
      interaction sender features depend on the element only, and everything with a channel axis
      moves behind the sum. All kinds of interaction share this.
    * ``contraction``: the symmetric contraction is a sparse polynomial in the node features,
      symmetrised over index permutations and reduced to linearly independent paths.
    * ``polynomial``: that polynomial is a JAX primitive whose derivatives are again sparse
      polynomials, so reverse mode never differentiates unrolled code.
    * Every block is a flax module that declares weights, and has a ``fold`` that multiplies out
      what depends on parameters only. Folding is differentiable: training goes through it.

Node features are arrays [atoms, components, channels]; ``irreps.Layout`` names the components.
Vectors point from receiver to sender in our graphs and the other way round in mace-torch; the sign
is turned once, in ``model``.
"""
