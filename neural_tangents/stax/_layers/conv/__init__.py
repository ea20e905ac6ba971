"""Convolutions: with shared weights, transposed, and with weights of their own for each position."""
