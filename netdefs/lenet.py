"""LeNet-5, the first network everyone rebuilds.

Paper: http://yann.lecun.com/exdb/publis/pdf/lecun-98.pdf.
Upstream: the LeNet of tensorrtx's PyTorch examples (ReLU and max pooling).

Input: (N, 1, 32, 32), gray, MNIST's mean and std. Outputs: `logits` and `prob` (their softmax), (N, num_classes).
"""

from netdefs.core.network import Network
from netdefs.core.preprocess import Decode, Preprocess
from netdefs.core.scope import Tensor
from netdefs.core.zoo import Model, config_of

VARIANTS: dict[str, dict[str, int]] = {"lenet5": {}}


def define(net: Network, x: Tensor, variant: str = "lenet5", num_classes: int | None = None) -> dict[str, Tensor]:
    """Adds LeNet-5 to `net` and returns its `logits` and `prob`, both (N, num_classes).

    Args:
        net: the place in a network where its modules are.
        x: (N, 1, 32, 32).
        variant: "lenet5".
        num_classes: read off the weights when None.
    """
    config_of(VARIANTS, variant)
    x = net.relu(net.conv(x, "conv1", 6, kernel=5), "conv1.relu")
    x = net.max_pool(x, "pool1", kernel=2)
    x = net.relu(net.conv(x, "conv2", 16, kernel=5), "conv2.relu")
    x = net.max_pool(x, "pool2", kernel=2)
    x = net.flatten(x, "flatten", start_dim=1)
    x = net.relu(net.linear(x, "fc1", 120), "fc1.relu")
    x = net.relu(net.linear(x, "fc2", 84), "fc2.relu")
    x = net.linear(x, "fc3", net.class_count(num_classes, "fc3.bias", default=10))
    prob = net.softmax(x, "softmax", dim=1)
    return {"logits": net.output(x, "logits"), "prob": net.output(prob, "prob")}


model = Model(
    __name__,
    define,
    VARIANTS,
    input_shape=(1, 1, 32, 32),
    preprocess=Preprocess("GRAY", mean=(0.1307,), std=(0.3081,)),
    decode=Decode("classes"),
)
define_network, build_engine = model.define_network, model.build_engine
