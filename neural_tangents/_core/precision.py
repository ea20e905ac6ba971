"""Precision of matrix products."""

import jax


def matmul_precision() -> jax.lax.Precision | None:
    """Full precision for the products that make kernels, unless the user has set `jax_default_matmul_precision`.

    Accelerators otherwise round the factors of float32 products, and a kernel of rounded inputs is not positive
    definite.
    """
    chosen = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    return jax.lax.Precision.HIGHEST if chosen is None else None
