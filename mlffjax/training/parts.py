"""Parts of a tree of weights, by name: what is frozen, what is adapted, how fast a layer learns.

Names are those of ``trees.names``, for a MACE ``layer_0/interaction/linear_up_0e``; patterns are
shell-style, and ``*`` matches across ``/``.
"""

import dataclasses
import fnmatch
import re
from collections.abc import Callable, Collection, Sequence

import jax
from jax.tree_util import Partial

from mlffjax import trees
from mlffjax.arrays import Array, PyTree
from mlffjax.errors import CompatibilityError
from mlffjax.potential.base import Potential

SHOWN = 60
"""Most names in a message."""
_LAYER = re.compile(r"layer_(\d+)")


def weight_names(potential: Potential, kind: str) -> dict[str, Array]:
    """The weights of a potential by name.

    Raises:
        CompatibilityError: it has none; ``kind`` is the strategy that asks.
    """
    params = potential.params
    if not isinstance(params, dict) or not trees.names(params.get("weights", {})):
        raise CompatibilityError(
            f"strategy {kind} trains weights, and a {type(potential.model).__name__} has none; it "
            "can be used as it is (strategy zero_shot)"
        )
    return trees.names(params["weights"])


def matching(names: Collection[str], patterns: Sequence[str], entry: str) -> tuple[str, ...]:
    """Names that match one of the patterns, in their order.

    Args:
        names: of the weights.
        patterns: exact names or shell-style patterns.
        entry: of the configuration, for messages.

    Raises:
        CompatibilityError: a pattern matches nothing; the message lists the names.
    """
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in names):
            listed = [*names][:SHOWN] + (["..."] if len(names) > SHOWN else [])
            raise CompatibilityError(
                f"{entry}: no weight is called {pattern!r}; there are {', '.join(listed)}"
            )
    return tuple(n for n in names if any(fnmatch.fnmatchcase(n, p) for p in patterns))


def trained_part(potential: Potential, chosen: Collection[str]) -> tuple[PyTree, Partial]:
    """The chosen weights as ``trainable`` and its ``realize``, which leaves all others alone."""
    named = trees.names(potential.params["weights"])
    trainable = trees.from_names({n: leaf for n, leaf in named.items() if n in chosen})
    others = trees.from_names({n: leaf for n, leaf in named.items() if n not in chosen})
    return trainable, Partial(with_weights, with_others(potential, others))


def with_others(potential: Potential, weights: PyTree) -> Potential:
    """The potential with other weights."""
    return dataclasses.replace(potential, params={**potential.params, "weights": weights})


def with_weights(frozen: Potential, trained: PyTree) -> Potential:
    """A potential whose weights are the frozen and the trained ones together."""
    joined = trees.names(frozen.params["weights"]) | trees.names(trained)
    return with_others(frozen, trees.from_names(joined))


def layer_factors(
    trainable: PyTree, realize: Callable[[PyTree], Potential], decay: float
) -> tuple[float, ...]:
    """Factors of the learning rate that fall by ``decay`` from layer to layer.

    With n layers: readouts, of any layer, 1; the rest of layer k decay^(n - k); what comes before
    all layers (the element embedding) decay^(n + 1). Howard and Ruder, arXiv:1801.06146.

    Args:
        trainable: its names hold those of weights of a MACE, possibly within other branches.
        realize: gives the whole potential, whose weights tell how many layers there are.
        decay: factor from one layer to the next lower one.

    Returns:
        One factor for each leaf, in the order of ``jax.tree.leaves``.

    Raises:
        CompatibilityError: the name of a leaf does not tell its layer.
    """
    weights = jax.eval_shape(realize, trainable).params.get("weights", {})
    layers = 1 + max((_layer(name) for name in trees.names(weights)), default=-1)
    return tuple(decay ** _depth(name, layers) for name in trees.names(trainable))


def _layer(name: str) -> int:
    """Number of the layer a weight belongs to, -1 if it is in none."""
    # Layers of networks inside a layer are called so as well; the first one counts.
    numbers = [found[1] for part in name.split("/") if (found := _LAYER.fullmatch(part))]
    return int(numbers[0]) if numbers else -1


def _depth(name: str, layers: int) -> int:
    """Layers between a weight and the energy."""
    layer, parts = _layer(name), name.split("/")
    if any(part.startswith("readout") for part in parts):
        return 0
    if layer >= 0:
        return layers - layer
    if "embedding" in parts:
        return layers + 1
    raise CompatibilityError(
        f"layer_decay needs weights with the names of kind: mace (layer_0/..., readout_0, "
        f"embedding), got {name!r}; remove layer_decay from the training section"
    )
