"""Equations of docstrings, written for a terminal, as LaTeX.

What is next to each other is multiplied: `2 k^2 + p`, `W_std x`. A name directly before a bracket is a function:
`sqrt(p)`, `E[f(u)]`. `a b / c d` is `(a b / c) d`, a fraction; without spaces, `s/2`, it stays in the line. Four spaces
separate equations in a line, and a line may begin with words and a colon. Two or more words in a row are text.
"""

import itertools
import re

TOKEN = re.compile(
    r"\s+|\d+(?:\.\d+)?|->|<=|>=|\.\.\.|⁻¹|[²ᵀ]|√|dτ|[A-Za-z]+\d*|[\u0391-\u03c9]|𝒦|[-+*/^_=<>()\[\]{}|,;:.'~!·∇]"
)
LABEL = re.compile(r"^(\S.*?:)(?: {2,}|$)")
GREEK = "alpha beta gamma delta theta lambda pi psi rho sigma zeta".split()
FUNCTIONS = "sqrt exp log cos sin cosh sinh acos atan2 erf diag".split()
SHORT_WORDS = "in out std max key val pos emb".split()  # other indices of two or three letters are several indices
SYMBOLS = {"𝒦": r"\mathcal{K}", "∇": r"\nabla ", "·": r"\cdot ", "...": r"\dots ", "->": r"\to ", "<=": r"\le "}
SYMBOLS |= dict(zip("Θαηλγτφ", r"\Theta \alpha \eta \lambda \gamma \tau \varphi".split(), strict=True))
SYMBOLS |= {"eps": r"\varepsilon"}
RAISED = {"²": "^{2}", "⁻¹": "^{-1}", "ᵀ": r"^{\top}"}
BRACKETS = {"(": ")", "[": "]", "{": "}", "|": "|", "<": ">"}
RELATIONS = {"=", "->", "<", ">", "<=", ">="}


class NotAnEquation(ValueError):
    """The text has something that is none of the notation."""


def latex(lines: list[str]) -> list[str] | None:
    """The lines of a block of equations as an environment of LaTeX, or None if it is something else."""
    rows: list[str] = []
    for line in lines:
        label, content = "", line.strip()
        if found := LABEL.match(content):
            label, content = rf"\text{{{found[1]}}}\quad ", content[found.end() :]
        try:
            parts = [(part, Line(part).read()) for part in re.split(r"(?<=[,;]) {2,}", content) if part]
        except NotAnEquation:
            return None
        for plain, part in parts:
            if "=" in plain or "->" in plain or plain.startswith("nngp'"):
                rows.append(f"{label}& {part}")
            elif rows and rows[-1].endswith(","):  # a list goes on
                rows[-1] += r"\quad " + part
            else:
                return None
            label = ""
    return [r"\begin{align*}", *(row + r" \\" for row in rows[:-1]), rows[-1], r"\end{align*}"] if rows else None


class Line:
    """One equation, read from left to right."""

    def __init__(self, text: str) -> None:
        self.tokens = [found[0] if found[0].strip() else " " for found in TOKEN.finditer(text)]
        self.at = 0
        self.in_script = False
        if "".join(self.tokens).replace(" ", "") != re.sub(r"\s", "", text):
            raise NotAnEquation(text)

    def next(self, skip: bool = True) -> str:
        """The token that comes, after spaces or not."""
        at = self.at
        while skip and at < len(self.tokens) and self.tokens[at] == " ":
            at += 1
        return self.tokens[at] if at < len(self.tokens) else ""

    def take(self) -> str:
        while self.next(skip=False) == " ":
            self.at += 1
        if self.at == len(self.tokens):
            raise NotAnEquation("the end")
        self.at += 1
        return self.tokens[self.at - 1]

    def opens(self) -> bool:
        """Whether the `<` that comes is a bracket: `a <b, c>`, not `a < b`."""
        at = self.at + (self.next(skip=False) == " ")
        return self.tokens[at : at + 1] == ["<"] and self.tokens[at + 1 : at + 2] != [" "]

    def read(self) -> str:
        """The whole line."""
        result = self.until("")
        if self.next() or result.endswith(("=", "+", "-", r"\to")):
            raise NotAnEquation(self.next())
        return result

    def until(self, closing: str) -> str:
        """Sums, relations and lists, up to the bracket that closes them, which is taken too."""
        parts: list[str] = []
        while (token := self.next()) and token != closing:
            if token in ("+", "-", ",", ";", ":", ".", "...") or (token in RELATIONS and not self.opens()):
                self.take()
                symbol_of = SYMBOLS.get(token, token)
                parts.append(symbol_of if token in ",;:." else f" {symbol_of} ")
            else:
                parts.append(("" if not parts else " ") + self.product(closing))
        if closing and self.take() != closing:
            raise NotAnEquation(f"no {closing}")
        return re.sub(" +", " ", "".join(parts)).strip()

    def product(self, closing: str) -> str:
        """Factors, of which those before a `/` are its numerator: all of them, or those after a sum."""
        factors: list[str] = []
        first = 0
        while (token := self.next()) and token != closing:
            if token == "/" and factors:
                in_line = self.in_script or self.next(skip=False) == "/"
                self.take()
                below = self.factor(closing)
                if in_line:
                    factors[-1] += f"/{below}"
                else:
                    above = side_by_side(factors[first:])
                    factors[first:] = [rf"\frac{{{unbracketed(above)}}}{{{unbracketed(below)}}}"]
                continue
            if token in ("+", "-", ",", ";", ":", ".", "...", ")", "]", "}"):
                break
            if token in RELATIONS and not self.opens():
                break
            factors.append(self.factor(closing))
            first = len(factors) if factors[-1].startswith((r"\sum", r"\int", r"\text")) else first
        if not factors:
            raise NotAnEquation(f"{self.next()} in {''.join(self.tokens)}")
        return side_by_side(factors)

    def factor(self, closing: str) -> str:
        """A number, a name, a function of something, or something in brackets, with indices and powers."""
        token = self.take()
        if token in BRACKETS:
            if token == "|" and closing == "|":
                raise NotAnEquation("bars in bars")
            inside = self.until(BRACKETS[token])
            scripts = self.scripts()
            is_fraction = token == "(" and unbraced(inside) == r"\frac"
            return inside if is_fraction and not scripts else bracketed(token, inside) + scripts
        if token == "√":
            return rf"\sqrt{{{self.factor(closing)}}}"
        if token == "∇":
            return rf"\nabla {self.factor(closing)}"
        if token == "·":
            return r"\cdot"
        if token[0].isalpha() or token in SYMBOLS:
            return self.named(token)
        if token[0].isdigit():
            return token + self.scripts()
        raise NotAnEquation(f"{token} in {''.join(self.tokens)}")

    def named(self, name: str) -> str:
        """A name: text if another word follows, a function if a bracket does, and else a symbol."""
        if (text := self.words(name)) != name:
            return rf"\text{{ {text} }}"
        if name in ("sum", "int") and self.next(skip=False) == "_":
            return rf"\{name}" + self.scripts()
        if name == "sqrt" and self.next(skip=False) == "(":
            self.take()
            return rf"\sqrt{{{self.until(')')}}}" + self.scripts()
        if name == "E" and self.next(skip=False) == "[":
            result = r"\mathbb{E}"
        elif is_word(name) and len(name) > 2 and self.next(skip=False) == "_":  # the name of an argument
            self.take()
            result = rf"\mathrm{{{name}\_{self.take()}}}"
        else:
            result = symbol(name)
        if self.next(skip=False) == "~":
            self.take()
            result = rf"\tilde{{{result}}}"
        result += self.scripts()
        while (opening := self.next(skip=False)) and opening in "([":
            self.take()
            result += bracketed(opening, self.until(BRACKETS[opening])) + self.scripts()
        return result

    def words(self, name: str) -> str:
        """The word, and those that follow it with nothing else between them."""
        words = [name]
        while is_word(words[0]) and self.next(skip=False) == " ":
            follows, after = (self.tokens[self.at + 1 : self.at + 3] + ["", ""])[:2]
            is_article = follows == "a" and len(words) > 1
            if not (is_word(follows) or is_article) or (after and after in "_([^'"):
                break
            words.append(self.take())
        return " ".join(words)

    def scripts(self) -> str:
        """Indices, primes and powers, as they come."""
        result = ""
        while (token := self.next(skip=False)) and token in {"_", "^", "'", "!", *RAISED}:
            self.take()
            if token == "_":
                indices = [self.script(index=True)]
                while self.next(skip=False) == "_":
                    self.take()
                    indices.append(self.script(index=True))
                result += rf"_{{{','.join(indices)}}}"
            elif token == "^":
                result += rf"^{{{self.script(index=False)}}}"
            else:
                result += RAISED.get(token, token)
        return result

    def script(self, index: bool) -> str:
        token = self.take()
        if token in ("(", "{"):
            before, self.in_script = self.in_script, True
            inside = self.until(BRACKETS[token])
            self.in_script = before
            return inside
        if index and len(token) > 1 and token.isalpha() and token not in GREEK:
            return rf"\mathrm{{{token}}}" if token in SHORT_WORDS or len(token) > 3 else token
        return r"\top" if token == "T" else symbol(token)


def is_word(token: str) -> bool:
    return len(token) > 1 and token.isalpha() and token.isascii() and token not in (*GREEK, *FUNCTIONS)


def symbol(name: str) -> str:
    """A name as a symbol: letters in italics, with digits as their index; longer names upright."""
    if name in SYMBOLS:
        return SYMBOLS[name].strip()
    if name in GREEK:
        return rf"\{name}"
    if name in FUNCTIONS:
        return rf"\operatorname{{{name}}}"
    letters = name.rstrip("0123456789")
    if not letters:
        return name
    digits = name[len(letters) :]
    if letters[0] == "d" and len(letters) == 2:  # a differential
        letters = rf"\mathrm{{d}}{symbol(letters[1])}"
    elif len(letters) > 1:
        letters = rf"\mathrm{{{letters}}}"
    return letters + (f"_{digits}" if len(digits) == 1 else f"_{{{digits}}}" if digits else "")


def side_by_side(factors: list[str]) -> str:
    """A product; around names of several letters with a little space."""
    result = factors[0]
    for before, factor in itertools.pairwise(factors):
        has_name = any(re.match(r"\\mathrm\{\w\w", text) for text in (before, factor))
        result += (r" \, " if has_name else " ") + factor
    return result


def bracketed(opening: str, inside: str) -> str:
    """In brackets, which are as high as what they hold."""
    left, right = {"{": (r"\{", r"\}"), "<": (r"\langle ", r" \rangle")}.get(opening, (opening, BRACKETS[opening]))
    is_high = any(command in inside for command in (r"\frac", r"\sum", r"\int", r"\sqrt"))
    return rf"\left{left} {inside} \right{right}" if is_high else f"{left}{inside}{right}"


def unbraced(text: str) -> str:
    """What is outside of all braces: a fraction and nothing else leaves its command."""
    while (shorter := re.sub(r"\{[^{}]*\}", "", text)) != text:
        text = shorter
    return text


def unbracketed(text: str) -> str:
    """Without the round or square brackets around all of it, which a fraction does not need."""
    found = re.fullmatch(r"(?:\\left)?[(\[] ?(.*?) ?(?:\\right)?[)\]]", text)
    depth = 0
    for character in found[1] if found else "":
        depth += (character in "([") - (character in ")]")
        if depth < 0:  # the first bracket is not closed by the last
            return text
    return found[1] if found else text
