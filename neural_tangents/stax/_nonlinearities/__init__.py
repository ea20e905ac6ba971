"""Nonlinearities: one record of formulas per file, the driver that applies it, and the public names."""
