from neural_tangents.empirical._implementation import NtkImplementation


def cheapest(first, second, params, axes):
    return NtkImplementation.STRUCTURED_DERIVATIVES
