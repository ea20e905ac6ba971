"""The NTK by structured derivatives: cotangents contracted with inputs of layers, without Jacobians where possible.

A network is read as a list of steps (`program.py`). Parameters enter a step as they are or as a value made of them
(`parameter_boxes.py` says of which). The Jacobian with respect to each such use (`uses.py`) is a product of factors, by
a rule for the step (`rules.py`); where results reach the outputs entry by entry, cotangents are products too
(`diagonal_paths.py`). The NTK is a sum over uses of contractions of these factors (`derivatives.py`).
"""
