"""Every example runs, and shows what it claims."""

import importlib
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def load(monkeypatch):
    """A function that imports an example by the name of its file, from their folder, as running it does."""
    monkeypatch.syspath_prepend(EXAMPLES)
    before = set(flags.FLAGS)

    def imported(name):
        monkeypatch.delitem(sys.modules, name, raising=False)  # to define its flags, which may be those of others too
        return importlib.import_module(name)

    yield imported
    for name in set(flags.FLAGS) - before:
        delattr(flags.FLAGS, name)


def run(example, **options):
    """Runs an example with options of the command line, and defaults for others."""
    flags.FLAGS.unparse_flags()
    return example.main([example.__file__, *(f"--{name}={value}" for name, value in options.items())])


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_examples_are_short_and_say_how_to_run_them(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 100
    assert path.stem == "datasets" or f"python examples/{path.name}" in text.split('"""')[1]


@pytest.mark.slow
def test_infinite_fcn_reads_handwritten_digits(load, tmp_path, capsys):
    plot = tmp_path / "digits.png"
    accuracies = run(load("infinite_fcn"), plot=plot)
    assert set(accuracies) == {"nngp", "ntk"}
    assert min(accuracies.values()) >= 0.96
    assert plot.read_bytes().startswith(b"\x89PNG")
    summary = capsys.readouterr().out
    assert summary.count("test accuracy") == 2


def test_digits_are_cut_into_two_sets(load):
    digits = load("datasets").digits
    everything, nothing = digits(1797)
    assert everything[0].shape == (1797, 64) and len(nothing[0]) == len(nothing[1]) == 0
    assert everything[0].min() == 0 and everything[0].max() == 1
    assert everything[1].shape == (1797, 10) and set(np.unique(everything[1])) == {-0.1, 0.9}
    for pieces, rest in ((digits(1000), 797), (digits(30, 20), 20)):
        n = len(pieces[0][0])
        for kind in range(2):
            np.testing.assert_array_equal(pieces[0][kind], everything[kind][:n])
            np.testing.assert_array_equal(pieces[1][kind], everything[kind][n : n + rest])


def test_implementations_of_the_empirical_ntk_agree(load, capsys):
    example = load("empirical_ntk")
    results = run(example, images=3, channels=8)
    assert list(results) == ["AUTO", "JACOBIAN_CONTRACTION", "NTK_VECTOR_PRODUCTS", "STRUCTURED_DERIVATIVES"]

    # The definition: the product of both Jacobians, summed over all parameters.
    params = example.init(jax.random.key(0), 8)
    (x1, _), (x2, _) = load("datasets").digits(3, 3)
    jacobians = (jax.jit(jax.jacrev(example.network))(params, jnp.asarray(x).reshape(-1, 8, 8, 1)) for x in (x1, x2))
    j1, j2 = (np.concatenate([np.reshape(of_leaf, (3, 10, -1)) for of_leaf in j], axis=2) for j in jacobians)
    expected = np.einsum("iap,jbp->ijab", j1, j2)
    for kernel, seconds in results.values():
        assert kernel.shape == (3, 3, 10, 10)
        np.testing.assert_allclose(kernel, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
        assert seconds > 0
    assert capsys.readouterr().out.count("largest relative difference") == len(results)


@pytest.mark.slow
def test_a_wide_network_trains_like_its_linearisation(load, capsys):
    example = load("weight_space")
    options = {"train": 100, "test": 200, "steps": 50}
    narrow, wide = (run(example, width=width, **options) for width in (32, 512))
    for rows in (narrow, wide):
        first, last = rows[0], rows[-1]
        assert (first["step"], last["step"]) == (0, 50)
        assert first["rmse"] < 1e-5
        for name in ("network", "linear"):
            assert last[f"train loss {name}"] < 0.5 * first[f"train loss {name}"]
            assert last[f"test accuracy {name}"] > 0.6
    assert wide[-1]["rmse"] < 0.3 * narrow[-1]["rmse"]
    assert wide[-1]["test loss network"] == pytest.approx(wide[-1]["test loss linear"], rel=0.1)
    assert len(capsys.readouterr().out.splitlines()) == 2 * (3 + len(wide))


@pytest.mark.slow
def test_the_empirical_ntk_predicts_training_of_a_wide_network(load, capsys):
    example = load("function_space")
    options = {"train": 32, "test": 32, "steps": 300}
    narrow, wide = (run(example, width=width, **options) for width in (32, 1024))
    assert [wide[0]["step"], wide[-1]["step"]] == [0, 300]
    for kind in ("train", "test"):
        assert wide[0][f"{kind} rmse"] < 1e-5
        assert wide[-1][f"{kind} loss"] < 0.3 * wide[0][f"{kind} loss"]
        assert wide[-1][f"{kind} loss"] == pytest.approx(wide[-1][f"{kind} predicted"], rel=0.1)
        assert wide[-1][f"{kind} rmse"] < 0.2 * narrow[-1][f"{kind} rmse"]
    assert len(capsys.readouterr().out.splitlines()) == 2 * (3 + len(wide))


@pytest.mark.slow
def test_hyperparameters_are_learned(load, capsys):
    losses, errors, noise = run(load("hyperparameters"), train=40, steps=60)
    assert losses[-1] < losses[0] - 0.5
    assert errors[-1] < 0.8 * errors[0]
    assert 0.05 < noise < 0.2  # 0.1 is true
    assert len(capsys.readouterr().out.splitlines()) == 5


@pytest.mark.slow
def test_a_store_of_kernels_is_filled_in_shares(load, tmp_path, capsys):
    example = load("big_kernels")
    options = {"folder": tmp_path / "kernels", "train": 100, "tile": 25}
    assert run(example, share="0,2", **options) is None
    assert "5 of 10 tiles" in capsys.readouterr().out
    accuracies = run(example, share="1,2", **options)
    assert set(accuracies) == {"nngp", "ntk"} and min(accuracies.values()) > 0.8
    assert run(example, **options) == accuracies
    assert "0 tiles were missing before" in capsys.readouterr().out


@pytest.mark.slow
def test_pooling_does_not_mind_moved_digits(load, capsys):
    accuracies = run(load("infinite_cnn"), train=60, test=60, tile=20)
    still, moved = accuracies["pooled"]
    assert still > 0.8 and moved > 0.8
    still, moved = accuracies["flattened"]
    assert still > 0.8 and moved < 0.6
    assert len(capsys.readouterr().out.splitlines()) == 4


@pytest.mark.slow
def test_languages_are_told_apart(load, capsys):
    example = load("text")
    assert [len(texts) for texts in example.sentences().values()] == [24] * 4
    accuracies = run(example, train=6)
    assert len(accuracies) == 2 and min(accuracies.values()) > 0.5  # a guess is right in a quarter of all cases
    assert len(capsys.readouterr().out.splitlines()) == 3


@pytest.mark.filterwarnings("ignore:`Elementwise` differentiates")
def test_a_kernel_of_ones_own(load, capsys):
    results = run(load("elementwise"), images=5)
    for built_in, draws in results.values():
        assert built_in < 1e-5 < draws < 0.5
    assert len(capsys.readouterr().out.splitlines()) == 4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The kernel of `ElementwiseNumerical` is approximate")
def test_kernels_by_quadrature(load, capsys):
    results = run(load("elementwise_numerical"), images=4)
    for many, few, draws in results.values():
        assert many < 1e-3 and many < few / 10 and draws < 0.1
    assert results["gelu"][0] < 1e-5
    assert len(capsys.readouterr().out.splitlines()) == 6


@pytest.mark.slow
def test_wrong_labels_are_found(load, tmp_path, capsys):
    plot = tmp_path / "worst.png"
    found = run(load("wrong_labels"), plot=plot, train=1200)
    assert found["leave one out"] >= 0.99 and found["influence"] > 0.7  # a guess is right half of the time
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert len(capsys.readouterr().out.splitlines()) == 4


@pytest.mark.slow
def test_learning_curves_are_predicted(load, tmp_path, capsys):
    plot = tmp_path / "curve.png"
    sizes, predicted, errors = run(load("learning_curve"), plot=plot, points=300, draws=10)
    np.testing.assert_array_equal(sizes, [100, 200])
    np.testing.assert_allclose(predicted, errors.mean(1), rtol=0.05)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert len(capsys.readouterr().out.splitlines()) == 5


@pytest.mark.slow
def test_a_toy_curve(load, tmp_path):
    example, plot = load("toy_curve"), tmp_path / "curve.png"
    moments = run(example, plot=plot, points=41)
    assert plot.read_bytes().startswith(b"\x89PNG")
    x = np.linspace(-2, 2, 41)
    near = np.abs(x - 0.6) < 1e-9  # one of the five points
    for name in ("posterior", "trained"):
        mean, std = moments[name]
        np.testing.assert_allclose(mean[near], example.curve(x[near]), atol=1e-2)
        assert std[near] < 0.05 < np.max(std)
    np.testing.assert_allclose(moments["t = 0"], moments["prior"], atol=1e-6)
    error = {name: np.mean((moments[name][0] - example.curve(x)) ** 2) for name in example.TIMES}
    assert error["trained"] < error["t = 1"] < error["t = 0"]
