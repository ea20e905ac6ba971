"""Data classes that are pytrees."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from neural_tangents._src.utils import dataclasses as nt_dataclasses


@nt_dataclasses.dataclass
class Features:
    nngp_feat: jax.Array
    ntk_feat: jax.Array = None
    axis: int = nt_dataclasses.field(pytree_node=False, default=-1)

    replace = ...  # programs declare it so, for type checkers

    def doubled(self):
        return self.replace(nngp_feat=2 * self.nngp_feat)


def test_is_a_frozen_pytree():
    features = Features(jnp.ones(2), axis=1)
    doubled = jax.jit(lambda f: f.doubled())(features)
    assert doubled.nngp_feat.tolist() == [2, 2] and doubled.axis == 1 and doubled.ntk_feat is None
    assert len(jax.tree.leaves(features)) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        features.axis = 2


def test_methods():
    features = Features(1, 2)
    assert features.asdict() == {"nngp_feat": 1, "ntk_feat": 2, "axis": -1}
    assert features.astuple() == (1, 2, -1)
    assert features.replace(axis=3).astuple() == (1, 2, 3)
    assert [f.metadata.get("pytree_node", True) for f in dataclasses.fields(Features)] == [True, True, False]
