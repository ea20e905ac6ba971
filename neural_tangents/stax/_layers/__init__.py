"""All layers but the nonlinearities: one file for each, or a folder where it takes several."""
