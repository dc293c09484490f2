"""The words with which array arguments are annotated, e.g. ``Float[Array, "atoms 3"]``.

Importing this imports jax. Host-only code (``structures``) annotates with ``numpy`` arrays
instead, and takes ``Float`` and its kin from jaxtyping directly.
"""

from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

PRNGKey = PRNGKeyArray

__all__ = ["Array", "Bool", "Float", "Int", "PRNGKey", "PyTree"]
