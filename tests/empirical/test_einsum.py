"""Products of several arrays against `numpy.einsum`, and the order in which they are multiplied."""

import itertools
import math

import jax
import numpy as np
import pytest
from finite_networks import assert_close, normal

from neural_tangents.empirical._einsum import contract, plan, sizes_of

SIZES = dict(zip("abcdef", (2, 3, 4, 5, 2, 3), strict=True))


@pytest.mark.parametrize(
    "formula",
    [
        *("ab->ab", "ab->ba", "ab->b", "ab->", "ab,bc->ac", "ab,bc->ca", "ab,cd->dbca", "ab,ab->a", "abc,c->ba"),
        *("ab,bc,cd->ad", "ab,bc,cd,de->ea", "ab,ac,ad->bcd", "abc,cde,ace,bd->ab", "ab,cb,db,ebf->acdf"),
        *("a,a,a->a", "ab,b,cd,->ac", "ab,bc,ca->"),
        *("aa->a", "aba->b", "aa,ab->b", "aa,bcb->ac", "cab,cad->cbd", "cab,adc->cbd", "ab,abc->ab"),
    ],
)
def test_product_of_arrays(formula):
    inputs, output = formula.split("->")
    terms = [tuple(term) for term in inputs.split(",")]
    with jax.enable_x64(True):
        arrays = [np.asarray(normal(1, *(SIZES[label] for label in term))[0]) for term in terms]
        assert_close(contract(arrays, terms, tuple(output)), np.einsum(formula, *arrays), 1e-13)


def test_labels_may_be_anything_and_new_ones_make_new_axes():
    with jax.enable_x64(True):
        x, y = normal(2, 3), normal(3, 4)
        found = contract([x, y], [("left", ("inner", 1)), (("inner", 1), 7)], ("new", 7, "other", "left"))
        assert_close(found, (x @ y).T[None, :, None], 1e-13)


def test_empty_sums():
    np.testing.assert_array_equal(contract([np.ones((2, 0)), np.ones((0, 3))], ["ab", "bc"], "ac"), np.zeros((2, 3)))
    assert contract([np.ones((0, 2)), np.ones((2, 3))], ["ab", "bc"], "ac").shape == (0, 3)


def test_sizes_must_agree():
    assert sizes_of([(2, 3), (3, 4)], ["ab", "bc"]) == {"a": 2, "b": 3, "c": 4}
    with pytest.raises(ValueError, match="Axis 'b' has sizes 3 and 5"):
        sizes_of([(2, 3), (5, 4)], ["ab", "bc"])


def test_products_of_a_chain_start_at_its_thin_end():
    chain = (("a", "b"), ("b", "c"), ("c", "d"))
    _, path = plan(chain, ("a", "d"), (("a", 2), ("b", 50), ("c", 60), ("d", 70)))
    assert path == ((0, 1), (0, 1))  # `(ab bc) cd`: the product of the first two is appended to the list
    _, path = plan(chain, ("a", "d"), (("a", 70), ("b", 50), ("c", 60), ("d", 2)))
    assert path == ((1, 2), (0, 1))


def test_no_order_is_cheaper():
    """All orders of four arrays, by brute force, with the cost that the plan is said to have."""
    terms = tuple(map(tuple, ("ab", "bcd", "cde", "ef")))
    output, sizes = ("a", "f"), {"a": 7, "b": 30, "c": 4, "d": 9, "e": 40, "f": 2}

    def size(labels):
        return math.prod(sizes[label] for label in labels)

    def costs(terms):
        if len(terms) == 1:
            yield 0.0
        for i, j in itertools.combinations(range(len(terms)), 2):
            rest = [term for k, term in enumerate(terms) if k not in (i, j)]
            both = set(terms[i]) | set(terms[j])
            product = both & set(output).union(*rest)
            moved = size(terms[i]) + size(terms[j]) + size(product)
            yield from (size(both) + 8 * moved + later for later in costs([*rest, product]))

    cost, path = plan(terms, output, tuple(sizes.items()))
    assert cost == min(costs(terms)) < max(costs(terms)) and len(path) == 3
