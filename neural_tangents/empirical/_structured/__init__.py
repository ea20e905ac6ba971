"""The NTK by structured derivatives: products of cotangents and inputs, never a Jacobian where one can do without."""
