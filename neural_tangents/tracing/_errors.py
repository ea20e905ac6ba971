"""The error of networks that have no kernel, or that are not understood."""


class LiftError(NotImplementedError):
    """A network has no kernel at infinite width, or it is not known.

    The message says what was met, at which line of the user's code, which parameter it concerns, and what to do.

    Source: Yang, "Tensor Programs II: Neural Tangent Kernel for Any Architecture", 2020,
    https://arxiv.org/abs/2006.14548, which says for which networks kernels exist.
    """
