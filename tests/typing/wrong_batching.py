"""Wrong uses of kernels in tiles and in stores: type checkers find an error in each marked line."""

import jax

import neural_tangents as nt
from neural_tangents import batching, stax

network = stax.serial(stax.Dense(16), stax.Erf(), stax.Dense(1))
x = jax.random.normal(jax.random.key(1), (5, 3))

nt.batch(network.kernel_fn, "large")  # error: the only word is "auto"
nt.batch(network.kernel_fn, batchsize=2)  # error: misspelt keyword
nt.batch(network.kernel_fn, 2, 0, True, None)  # error: budgets and meshes are given by keyword
nt.batch(network.kernel_fn, 2).estimate(x).second  # error: misspelt attribute
store = batching.open_store("kernels")
store.fill((0, 2))  # error: shares are given by keyword
store["ntk"].read(slice(2))  # error: columns are missing
batching.fill_tile(store, 1)  # error: the number of the block of x2 is missing
