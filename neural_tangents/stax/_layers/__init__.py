"""The layers that are no nonlinearities: one file for each, or a folder where it takes several."""
