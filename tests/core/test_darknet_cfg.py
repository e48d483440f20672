"""Darknet's .cfg files: what is read, and what the errors say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdefs.core.errors import CheckpointError
from netdefs.core.yolo.darknet_cfg import parse_cfg, read_cfg
from netdefs.core.yolo.darknet_layers import Conv, Detect, Route, with_heads
from netdefs.core.yolo.darknet_weights import value_count
from tests.core.darknet_files import NETWORKS, SMALL, text_of


@pytest.mark.parametrize("name", NETWORKS)
def test_a_cfg_of_the_zoos_layers_is_read_as_they_are(name):
    """Strides are not written: they follow from the layers, and are those in the zoo's tables."""
    layers = with_heads(NETWORKS[name], 80)
    assert parse_cfg(text_of(layers), "x.cfg") == layers


def test_a_small_cfg(tmp_path):
    (tmp_path / "small.cfg").write_text(SMALL)
    assert read_cfg(tmp_path / "small.cfg") == [
        *[Conv(4, 3, 2), Conv(6, 1), Route((-1, -2))],
        *[Conv(14, 1, activation="linear", batch_norm=False), Detect(((10, 14), (23, 27)), 2)],
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no section, such as [net]"),
        ("import torch\n", "line 1: 'import torch' is neither a [section] nor an option"),
        ("[convolutional]\nfilters=3\n", "line 1: [convolutional] comes first, where [net] must be"),
        ("[net]\nchannels=1\n", "[net] has channels=1, and netdefs knows it with channels=3 only"),
        ("[net]\n[lstm]\n", "line 2: [lstm] is a layer that netdefs does not know. It knows [convolutional]"),
        ("[net]\n[maxpool]\nsize=2\n", "is followed by no [convolutional]"),
        ("[net]\n[convolutional]\nfilters=many\n", "line 2: [convolutional] needs filters=NUMBER, not filters=many"),
        ("[net]\n[convolutional]\nfilters=0\n", "has filters=0, which must be at least 1"),
        ("[net]\n[convolutional]\nsize=3\npad=0\n", "has pad=0, and netdefs knows it with pad=1 only"),
        ("[net]\n[convolutional]\ndilation=2\n", "has dilation=2"),
        ("[net]\n[convolutional]\nshare_index=0\n", "shares the weights of another layer"),
        ("[net]\n[convolutional]\n[route]\nlayers=-2\n", "is layer 1 and refers to layer -2"),
        ("[net]\n[convolutional]\n[route]\nlayers=5\n", "is layer 1 and refers to layer 5"),
        ("[net]\n[convolutional]\n[route]\n", "needs layers=NUMBER, NUMBER ..., not layers="),
        ("[net]\n[convolutional]\n[route]\nlayers=-1\ngroups=2\ngroup_id=2\n", "has group_id=2, and groups=2"),
        ("[net]\n[convolutional]\n[shortcut]\nfrom=-1\nactivation=leaky\n", "has activation=leaky"),
        ("[net]\n[convolutional]\n[yolo]\nanchors=1,2,3\n", "which are no pairs of width and height"),
        ("[net]\n[convolutional]\n[yolo]\nanchors=1,2\nmask=1\n", "has mask=1, and 1 anchors, counted from 0"),
        ("[net]\n[convolutional]\n[maxpool]\n[yolo]\nanchors=1,2\n", "has no [convolutional] right before it"),
        ("[net]\n[convolutional]\n[region]\nanchors=1,2\ntree=9k.tree\n", "has a tree of classes"),
    ],
)
def test_what_is_wrong_with_a_cfg(text, words):
    with pytest.raises(CheckpointError) as error:
        parse_cfg(text, "my.cfg")
    assert "my.cfg" in str(error.value) and words in str(error.value)


LINES = [
    "[net]",
    "[convolutional]",
    "[route]",
    "[shortcut]",
    "[yolo]",
    "[region]",
    "[upsample]",
    "[reorg]",
    "[maxpool]",
]
LINES += [
    "filters=4",
    "filters=-1",
    "size=2",
    "stride=0",
    "layers=-1,0",
    "layers=,",
    "from=-1",
    "mask=0",
    "mask=nan",
    "=",
]
LINES += ["anchors=1,2", "anchors=inf,1", "groups=2", "group_id=1", "scale_x_y=x", "new_coords=1", "[", "# no", "a=b=c"]


@given(st.lists(st.sampled_from(LINES), max_size=20))
def test_any_cfg_is_read_or_refused(lines):
    try:
        layers = parse_cfg("\n".join(["[net]", *lines]), "x.cfg")
    except CheckpointError:
        return
    assert value_count(layers) >= 0
