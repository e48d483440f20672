"""Which output of the network is compared with which value that the module returns."""

import pytest
import torch
from torch import nn

import netdefs
from tests.debug.nets import build, picture, seeded

SHAPE = (1, 3, 4, 4)


class Head(nn.Module):
    """One linear layer; `give` makes what is returned of its result."""

    def __init__(self, give):
        super().__init__()
        self.fc = nn.Linear(48, 5)
        self.give = give

    def forward(self, x):
        return self.give(self.fc(x.flatten(1)))


def two_outputs(net, x):
    """logits and prob, as LeNet has them."""
    x = net.linear(net.flatten(x, "flatten", 1), "fc", 5)
    return {"logits": net.output(x, "logits"), "prob": net.output(net.softmax(x, "softmax", dim=1), "prob")}


def compare(give, define=two_outputs, **options):
    module = seeded(Head(give))
    return netdefs.compare(build(define, module.state_dict(), SHAPE), module, picture(*SHAPE), **options)


def outputs(report):
    return [row.name for row in report.rows if row.kind == "output"]


def note(report, name):
    return next(note for note in report.notes if note.startswith(f"The output {name} "))


def reasons(report):
    return {item.name: item.reason for item in report.unmatched}


def test_a_dict_goes_by_name():
    report = compare(lambda y: {"prob": y.softmax(1), "logits": y})
    assert report.ok
    assert outputs(report) == ["logits", "prob"]
    assert note(report, "prob") == "The output prob is compared with module(x)['prob']: the same name."


@pytest.mark.parametrize("container", [tuple, list])
def test_a_sequence_goes_by_order(container):
    report = compare(lambda y: container([y, y.softmax(1)]))
    assert report.ok
    assert note(report, "prob") == "The output prob is compared with module(x)[1]: both are the output of softmax."
    swapped = compare(lambda y: container([y.softmax(1) * 1, y * 1]))
    assert [row.name for row in swapped.bad] == ["logits", "prob"]


def test_the_tensor_itself_counts_more_than_the_order():
    report = compare(lambda y: (y.softmax(1), y))
    assert report.ok
    assert note(report, "logits").endswith("module(x)[1]: both are the output of fc.")
    assert note(report, "prob").endswith("module(x)[0]: both are the output of softmax.")


@pytest.mark.parametrize("opaque", [False, True])
def test_marked_layers_take_no_returned_value(opaque):
    """`cat` has the shape of the returned `up`: that is compared already, and `cat` is not what is returned."""

    class Aux(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.conv = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 5, 1)

        def forward(self, x):
            return {"out": self.conv(torch.cat([x, x * 2], 1)), "aux": self.up(x)}

    def define(net, x):
        up = net.conv(x, "up", 6, 1)
        out = net.output(net.conv(net.concat([x, net.mul(x, 2.0, "double")], "cat", dim=1), "conv", 5, 1), "out")
        return {"out": out, "up": up}

    module = seeded(Aux())
    engine = netdefs.build(build(define, module.state_dict(), SHAPE), target="cpu", outputs="*")
    assert "cat" in engine.outputs
    report = netdefs.compare(shut(engine) if opaque else engine, module, picture(*SHAPE))
    assert report.ok
    assert outputs(report) == ["out"]
    assert ("cat" in reasons(report)) == opaque  # such an engine shows no layers, and its outputs have no shape here
    assert "()['aux']" not in reasons(report)


def shut(engine):
    """An engine as on a GPU: it runs, and shows nothing of its inside."""

    class Shut(netdefs.Engine):
        def run(self, feeds):
            return engine.run(feeds)

        def save(self, path):
            raise NotImplementedError

    return Shut("tensorrt", engine.inputs, engine.outputs, engine.profile, engine.info)


def test_the_verdict_of_several_outputs():
    def squares(net, x):
        y = net.flatten(x, "flatten", 1)
        return {"a": net.output(net.mul(y, y, "square"), "a"), "b": net.output(net.add(y, y, "double"), "b")}

    class Squares(nn.Module):
        def forward(self, x):
            y = x.flatten(1)
            return y * y, y + y

    report = netdefs.compare(build(squares, {}, SHAPE), Squares(), picture(*SHAPE))
    said = "flatten, the only layer that was compared, agrees with PyTorch, and so do the outputs a, b"
    assert said in report.verdict


def test_the_only_value_is_recognized_by_the_module_that_gave_it():
    report = compare(lambda y: y)
    assert report.ok
    assert outputs(report) == ["logits"]
    assert note(report, "logits").endswith("module(x): both are the output of fc.")
    assert reasons(report)["prob"] == "is an output, and the module returns nothing that fits"


def test_the_only_value_is_not_taken_for_a_layer_that_it_is_not():
    report = compare(lambda y: y.softmax(1))
    assert report.ok
    assert outputs(report) == ["prob"]
    assert note(report, "prob").endswith("module(x): both are the output of softmax.")


def test_more_values_than_outputs():
    def one(net, x):
        return net.output(net.linear(net.flatten(x, "flatten", 1), "fc", 5), "logits")

    report = compare(lambda y: (y.argmax(1), y.softmax(1), y), one)
    assert report.ok
    assert note(report, "logits").endswith("module(x)[2]: both are the output of fc.")
    assert reasons(report)["()[0]"] == "is returned, and no output of the network fits"


def test_other_names_and_another_number_of_values():
    report = compare(lambda y: {"a": y * 1, "b": torch.zeros(3), "c": None, "d": torch.zeros(4)})
    assert outputs(report) == ["prob"]  # logits is the layer fc, whose tensor "a" is not
    assert not report.ok
    assert reasons(report)["()['b']"] == "is returned, and no output of the network fits"
    assert reasons(report)["()['c']"] == "returns no tensor (NoneType)"


def test_one_output_and_one_value_belong_together_whatever_their_shapes():
    def one(net, x):
        return net.output(net.linear(net.flatten(x, "flatten", 1), "fc", 5), "logits")

    report = compare(lambda y: y[0], one)
    wrong = report.first_bad
    assert (wrong.name, wrong.shape, wrong.chained_shape) == ("logits", (5,), (1, 5))
    assert "output logits is wrong (its shape is (1, 5), PyTorch's is (5,))" in report.verdict


def test_an_output_that_is_a_layer_itself():
    def bare(net, x):
        return net.linear(net.flatten(x, "flatten", 1), "fc", 5)

    report = compare(lambda y: y, bare)
    assert report.ok
    assert [(row.name, row.kind) for row in report.rows] == [("flatten", "layer"), ("fc", "layer")]
    assert "()" not in reasons(report)


def test_indices_are_compared_as_numbers():
    def top(net, x):
        x = net.linear(net.flatten(x, "flatten", 1), "fc", 5)
        values, indices = net.topk(x, "top", 2, dim=1)
        return {"values": net.output(values, "values"), "indices": net.output(indices, "indices")}

    report = compare(lambda y: y.topk(2, dim=1), top)
    assert report.ok
    assert outputs(report) == ["values", "indices"]
    assert next(row for row in report.rows if row.name == "indices").dtype == "int32"


def test_two_inputs():
    def define(net, x):
        return net.output(net.add(x, net.conv(net.input("other", SHAPE), "conv", 3, 1), "add"), "out")

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x, other):
            return x + self.conv(other)

    module = seeded(Two())
    net = build(define, module.state_dict(), SHAPE)
    a, b = picture(*SHAPE), torch.from_numpy(picture(*SHAPE, seed=1))
    for inputs in ((a, b), {"other": b, "input": a}):
        report = netdefs.compare(net, module, inputs)
        assert report.ok
        assert [(found.name, found.low) for found in report.inputs] == [("input", a.min()), ("other", float(b.min()))]


def test_outputs_that_the_network_works_on_further():
    """A network may upsample in itself what PyTorch returns: its layers are compared, and no output is called wrong."""
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)).eval()
    net = netdefs.Network(module.state_dict())
    x = net.conv(net.conv(net.input("x", (1, 3, 8, 8)), "0", 4, kernel=3), "1", 2, kernel=1)
    net.finish(net.output(net.upsample(x, "larger", scale_factor=2), "maps"))
    report = netdefs.compare(net, module, torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert report.ok, report.verdict
    assert [row.name for row in report.rows] == ["0", "1"]
