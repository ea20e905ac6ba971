"""Equations of docstrings become formulas on the site."""

import inspect

import equations
import house_docstrings
import pytest

from neural_tangents import stax


@pytest.mark.parametrize(
    "text, expected",
    [
        ("k = 2 k^2 + p", r"k = 2 k^{2} + p"),
        ("K = (2 / pi) sqrt(p - k^2)", r"K = \frac{2}{\pi} \sqrt{p - k^{2}}"),
        ("K = (a^2 + b^2) / 2 - g theta", r"K = \frac{a^{2} + b^{2}}{2} - g \theta"),
        ("K = (a) (b) / (c) (d)", r"K = \frac{(a) (b)}{c} (d)"),
        ("x = exp(s/2)", r"x = \operatorname{exp}(s/2)"),
        ("x -> W_std / sqrt(C) x W", r"x \to \frac{W_{\mathrm{std}}}{\sqrt{C}} x W"),
        ("y = W_std^2 / |D| sum_{p, d} x[p]", r"y = \frac{W_{\mathrm{std}}^{2}}{|D|} \sum_{p, d} x[p]"),
        ("y = sum_(n < N) a_n(q1) / b", r"y = \sum_{n < N} \frac{a_{n}(q_1)}{b}"),
        ("K' = dK / dk = E[f'(u)]", r"K' = \frac{\mathrm{d}K}{\mathrm{d}k} = \mathbb{E}[f'(u)]"),
        ("A = (I - E) c", "A = (I - E) c"),
        ("ntk' = c <K~, T_B> K~", r"\mathrm{ntk}' = c \langle \tilde{K}, T_{B} \rangle \tilde{K}"),
        ("f = e^{-Θ_λ τ / n} y", r"f = e^{- \Theta_{\lambda} \tau/n} y"),
        ("x = (K + λ I)⁻¹ Aᵀ", r"x = (K + \lambda I)^{-1} A^{\top}"),
        ("s = 1 / √learning_rate · q", r"s = \frac{1}{\sqrt{\mathrm{learning\_rate}}} \cdot q"),
        ("n = n (+ 1 if there is a bias)", r"n = n (+ 1 \text{ if there is a bias })"),
    ],
)
def test_notation(text, expected):
    assert equations.latex([text]) == [r"\begin{align*}", f"& {expected}", r"\end{align*}"]


def test_lines_labels_and_lists():
    lines = ["    'ntk':  a = b,    c = d,", "            e = 1,  2."]
    rows = [r"\text{'ntk':}\quad & a = b, \\", r"& c = d, \\", r"& e = 1,\quad 2."]
    assert equations.latex(lines) == [r"\begin{align*}", *rows, r"\end{align*}"]


@pytest.mark.parametrize(
    "text", ["mean    A y", "x = `code`", "x = (a", "x = a)", "x = |a", "x = a ^", "x = ", "plain"]
)
def test_what_is_no_equation_stays_as_it_is(text):
    assert equations.latex([text]) is None


@pytest.mark.parametrize("name", sorted(set(stax.__all__) - {"Aggregate"}))  # the blocks of that one are also text
def test_equations_of_layers(name):
    lines = (inspect.getdoc(getattr(stax, name)) or "").splitlines()
    assert ".. code-block:: text" not in house_docstrings.reformatted(lines)
