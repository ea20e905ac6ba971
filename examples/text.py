"""Tells the language of a proverb, by infinitely wide networks on characters, with and without attention.

Sentences have different lengths. They are padded to the longest one with a number that means "nothing here"; layers
leave it out by their masks, so that the padding changes nothing. Convolutions see three letters at a time; attention,
in its infinite limit, then mixes all positions of a sentence.

    python examples/text.py --train 12
"""

import sys
from pathlib import Path

import numpy as np
from absl import app, flags

import neural_tangents as nt
from neural_tangents import stax

FLAGS = flags.FLAGS
flags.DEFINE_integer("train", 12, "number of training sentences of each language, of 24; the rest test")
flags.DEFINE_integer("tile", 24, "largest number of sentences along each side of a tile")
flags.DEFINE_float("diag_reg", 1e-3, "noise variance, relative to the mean variance")

PADDING = 100.0
ALPHABET = " abcdefghijklmnopqrstuvwxyz"


def sentences():
    """Returns the proverbs that ship with this example, as a dictionary of lists, by language."""
    languages = {}
    for line in Path(__file__).with_name("proverbs.txt").read_text().splitlines():
        language, sentence = line.split("\t")
        languages.setdefault(language, []).append(sentence.lower())
    return languages


def one_hot(texts, length):
    """Returns the characters of texts as `(n, length, len(ALPHABET))`, with `PADDING` behind the end of each text."""
    x = np.full((len(texts), length, len(ALPHABET)), PADDING, np.float32)
    for i, text in enumerate(texts):
        x[i, : len(text)] = np.eye(len(ALPHABET))[[ALPHABET.index(character) for character in text]]
    return x


def infinite_network(attention):
    """Returns the kernel function of a network on sequences, with a mask."""
    layers = [stax.Conv(1, (3,), padding="SAME"), stax.Relu()]
    if attention:
        layers += [stax.GlobalSelfAttention(1, n_chan_key=1, n_chan_val=1, n_heads=1), stax.Relu()]
    _, _, kernel_fn = stax.serial(*layers, stax.GlobalAvgPool(), stax.Dense(1))
    return kernel_fn


def main(argv):
    """Runs the experiment and returns the test accuracy without and with attention."""
    app.define_help_flags()
    app.parse_flags_with_usage(argv)
    languages = sentences()
    length = max(len(text) for texts in languages.values() for text in texts)
    parts = {"train": slice(FLAGS.train), "test": slice(FLAGS.train, None)}
    x, labels = {}, {}
    for part, which in parts.items():
        chosen = [(text, i) for i, texts in enumerate(languages.values()) for text in texts[which]]
        x[part] = one_hot([text for text, _ in chosen], length)
        labels[part] = np.array([i for _, i in chosen])
    y_train = np.eye(len(languages))[labels["train"]] - 1 / len(languages)
    print(f"{len(x['train'])} training and {len(x['test'])} test sentences in {', '.join(languages)}")

    accuracies = {}
    for name, attention in (("convolution", False), ("convolution and attention", True)):
        kernel_fn = nt.batch(infinite_network(attention), FLAGS.tile)
        kernels = (
            kernel_fn(x[part], other, "nngp", mask_constant=PADDING)
            for part, other in (("train", None), ("test", x["train"]))
        )
        predict_fn = nt.predict.gp_inference(next(kernels), y_train, diag_reg=FLAGS.diag_reg)
        mean = predict_fn("nngp", next(kernels))
        accuracies[name] = float(np.mean(np.argmax(mean, axis=1) == labels["test"]))
        print(f"  {name:26} test accuracy {accuracies[name]:.1%}")
    return accuracies


if __name__ == "__main__":
    main(sys.argv)
