"""Wrong uses of predictors: type checkers find each marked line, and none but these."""

import jax

import neural_tangents as nt
from neural_tangents import predict, stax

kernel_fn = stax.serial(stax.Dense(16), stax.Erf(), stax.Dense(1)).kernel_fn
x = jax.random.normal(jax.random.key(1), (4, 3))
y = x[:, :1]
k = kernel_fn(x)
nngp = kernel_fn(x, None, "nngp")
ntk = kernel_fn(x, None, "ntk")

predict.gp_inference(k)  # error: no targets
predict.gp_inference(k, {"y": y})  # error: a dictionary for targets
predict.gp_inference(k, y, diag_rag=1e-3)  # error: misspelt keyword argument
predict.gp_inference(k, y, "1e-3")  # error: text for a number
predict.gp_inference(k, y, 0.0, False, (-1,), 0.1)  # error: noise is given by name

process = nt.predict.gp_inference(k, y)
process.diagnostic()  # error: misspelt method
process.diagnostics().condition_number  # error: of which kernel
process.diagnostics()["ntk"].conditon_number  # error: misspelt attribute
process("ntk", k_testtrain=k)  # error: misspelt keyword argument
process(3, k)  # error: a number for a name
process("ntk", k).mean.T  # error: without `k_test_test` the mean alone is returned
process("ntk", k, nngp).std  # error: misspelt attribute
process("ntk", k, nngp).stddev()  # error: an attribute is not called
process(None, k, nngp).nngpp  # error: misspelt name
process.leave_one_out().men  # error: misspelt attribute

ensemble = predict.gradient_descent_mse_ensemble(kernel_fn, x, y)
ensemble(x_test=x, get="ntk", compute_cov=True).shape  # error: a Gaussian has no shape
ensemble(x_test=x, get=1)  # error: a number for a name

flow = predict.gradient_descent_mse(ntk, y)
flow(1.0, fx_test=0.0)  # error: misspelt keyword argument
flow(1.0).mean.shape  # error: an array has no Gaussian mean
predict.gradient_descent(ntk, y)  # error: no loss
predict.max_learning_rate(ntk, moment=0.9)  # error: misspelt keyword argument
