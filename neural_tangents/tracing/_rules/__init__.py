"""What each primitive of jax does to constants, parameters, numbers that depend on inputs, and activations."""
