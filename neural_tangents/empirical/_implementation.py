"""The algorithms that compute the NTK of a finite network."""

import enum


class NtkImplementation(enum.IntEnum):
    """How `empirical_ntk_fn` computes a kernel. All give the same numbers; time and memory differ.

    With `N` inputs, `O` outputs, `P` parameters, and a forward pass of one input of cost `F`:

    Attributes:
      AUTO: the one that takes the least arithmetic, by a count of operations.
      JACOBIAN_CONTRACTION: both Jacobians, then their product. Time `N O F + N² O² P`, memory `N O P`.
      NTK_VECTOR_PRODUCTS: products of the NTK with unit vectors, without Jacobians. Time `N² O F`: for cheap forward
        passes and many outputs. It needs derivatives in forward mode, which functions with `jax.custom_vjp` lack.
      STRUCTURED_DERIVATIVES: Jacobians as products of the cotangents and the inputs of each layer, contracted in the
        cheapest order. Time `N O F` and a product for each layer, memory `N O` times the activations.

    Source: Novak et al., "Fast Finite Width Neural Tangent Kernel", 2022, https://arxiv.org/abs/2206.08720.
    """

    AUTO = 0
    JACOBIAN_CONTRACTION = 1
    NTK_VECTOR_PRODUCTS = 2
    STRUCTURED_DERIVATIVES = 3


def canonical_implementation(implementation: NtkImplementation | int) -> NtkImplementation:
    """The member with this number.

    Raises:
      KeyError: there is none.
    """
    try:
        return NtkImplementation(implementation)
    except ValueError:
        known = ", ".join(f"{member.value} ({member.name})" for member in NtkImplementation)
        raise KeyError(f"Expected `implementation` to be one of {known}; got {implementation!r}.") from None
