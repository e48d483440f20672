"""CRNN: reads a line of text. Convolutions, two bidirectional LSTMs along the line, and CTC.

Paper: https://arxiv.org/abs/1507.05717.
Upstream: meijieru/crnn.pytorch, models/crnn.py (MIT).

Input: (N, 1, 32, W) gray, -1 to 1; 100 wide by default. Output: `logits` (N, T, num_classes), of T = W // 4 + 1 steps
from left to right, where class 0 is CTC's blank. Upstream's module gives them as (T, N, num_classes), as `rnn` here.
"""

from typing import Any

from netdefs.core.blocks import conv_bn_relu
from netdefs.core.errors import NetworkError
from netdefs.core.network import Network
from netdefs.core.preprocess import Decode, Preprocess
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of

VARIANTS: dict[str, dict[str, Any]] = {"crnn": {"hidden": 256}}
ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
CHANNELS = (64, 128, 256, 256, 512, 512, 512)
NORMED = (2, 4, 6)  # convolutions with a batch norm
HEIGHT = 32


def define(
    net: Network,
    x: Tensor,
    variant: str = "crnn",
    num_classes: int | None = None,
    alphabet: str | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Adds a CRNN to `net` and returns its `logits`, (N, T, num_classes).

    Args:
        net: the place in a network where its modules are.
        x: (N, 1, 32, W); W may be dynamic.
        variant: one of `VARIANTS`.
        num_classes: characters and the blank; read off the weights when None.
        alphabet: the characters of the classes from 1 on. By default upstream's, 0 to 9 and a to z, where there are 37
            classes, and else unknown: there is no text then, only logits.
        eps: of the batch norms, where the weights don't tell.

    Raises:
        NetworkError: the height is not 32, or the alphabet has not as many characters as there are classes.
    """
    hidden = config_of(VARIANTS, variant)["hidden"]
    height = net.known_size(x, 2, variant)
    if height != HEIGHT:
        raise NetworkError(f"{variant} takes lines of text of {HEIGHT} pixels in height, not {height}.")
    classes = net.class_count(num_classes, "rnn.1.embedding.bias", default=len(ALPHABET) + 1)
    if alphabet is not None and len(alphabet) != classes - 1:
        raise NetworkError(
            f"alphabet has {len(alphabet)} characters, and the network {classes} classes: one is the blank, so it "
            f"takes {classes - 1}, in the order of the classes from 1 on."
        )
    net.info["decode"] = {"alphabet": alphabet or (ALPHABET if classes == len(ALPHABET) + 1 else None)}
    x = convolutions(net / "cnn", x, eps)
    x = net.permute(net.flatten(x, "squeeze", start_dim=2), "steps", (2, 0, 1))
    x = recurrent(net / "rnn" / 0, x, hidden, hidden)
    x = net.identity(recurrent(net / "rnn" / 1, x, hidden, classes), "rnn")
    return net.output(net.permute(x, "batch_first", (1, 0, 2)), "logits")


def convolutions(net: Network, x: Tensor, eps: float) -> Tensor:
    """(N, 1, 32, W) -> (N, 512, 1, T): the last two pools halve the height only."""
    for i, channels in enumerate(CHANNELS):
        options: dict[str, Any] = {"kernel": 2 if i == 6 else 3, "padding": 0 if i == 6 else 1}
        if i in NORMED:
            names = (f"conv{i}", f"batchnorm{i}", channels)
            x = conv_bn_relu(net, x, *names, **options, relu=f"relu{i}", bias=True, eps=eps)
        else:
            x = net.relu(net.conv(x, f"conv{i}", channels, **options), f"relu{i}")
        if i in (0, 1):
            x = net.max_pool(x, f"pooling{i}", kernel=2)
        elif i in (3, 5):
            x = net.max_pool(x, f"pooling{(i + 1) // 2}", kernel=2, stride=(2, 1), padding=(0, 1))
    return net.identity(x)


def recurrent(net: Network, x: Tensor, hidden: int, out: int) -> Tensor:
    """A bidirectional LSTM, and a linear layer for each of its steps: (T, N, C) -> (T, N, out)."""
    x = net.lstm(x, "rnn", hidden, bidirectional=True)
    rows = net.linear(net.flatten(x, "rows", end_dim=1), "embedding", out)  # upstream has it on (T * N, ...)
    return net.reshape(rows, None, (0, 0, out), like=x)


PREPROCESS = Preprocess("GRAY", mean=(0.5,), std=(0.5,), fit="stretch")

model = Model(__name__, define, VARIANTS, input_shape=(1, 1, HEIGHT, 100), preprocess=PREPROCESS, decode=Decode("text"))
define_network, build_engine = model.define_network, model.build_engine
