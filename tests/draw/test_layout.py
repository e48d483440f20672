"""Rows, columns and tracks: nothing lies on anything else, lines arrive where they should."""

import itertools
from xml.etree import ElementTree

import pytest

from netdefs.draw.data import describe
from netdefs.draw.graph import network_tree
from netdefs.draw.ranks import layout
from netdefs.draw.sheet import arrange, boxes, paths
from netdefs.draw.svg import svg
from tests.draw.nets import of_zoo, small

NETWORKS = [("resnet", "resnet50"), ("yolo11", "yolo11n"), ("hrnet", "hrnet_w18_small"), ("yolov4", "yolov4")]


def blocks_of(block):
    return [block, *(inner for child in block.blocks for inner in blocks_of(child))]


@pytest.fixture(scope="module", params=NETWORKS, ids=[variant for _, variant in NETWORKS])
def root(request):
    return network_tree(of_zoo(*request.param))


def test_no_spot_is_taken_twice(root):
    for block in blocks_of(root):
        plan = layout(block)
        spots = [(spot.row, spot.column) for spot in (*plan.spots, *plan.entering.values(), *plan.leaving.values())]
        spots += [(row, lane.column) for lane in plan.lanes for row in range(lane.first, lane.last + 1)]
        assert len(set(spots)) == len(spots), block.path
        assert all(0 <= column < plan.columns and 0 <= row <= plan.rows + 1 for row, column in spots)


def test_wires_bring_every_tensor_to_all_who_take_it(root):
    """Followed from who gives it along wires and lanes, a tensor comes to exactly those that take it."""
    for block in blocks_of(root):
        plan = layout(block)
        for name, net in block.nets.items():
            start = plan.entering[name] if net.source < 0 else plan.spots[net.source]
            takers = {id(plan.leaving[name] if target < 0 else plan.spots[target]) for target in net.targets}
            reached, front = set(), [start]
            wires = [wire for wire in plan.wires if wire.tensor == name]
            while front:
                spot = front.pop()
                reached.add(id(spot))
                for wire in wires:
                    ends = [wire.top, *wire.bottom]
                    front += [end for end in ends if any(spot is other for other in ends) and id(end) not in reached]
            lanes = {id(end) for wire in wires for end in (wire.top, *wire.bottom) if end.kind == "lane"}
            assert reached - lanes == takers | {id(start)}, (block.path, name)


def test_tensors_have_tracks_of_their_own(root):
    """In one gap, two tensors on one height have no column in common."""
    for block in blocks_of(root):
        plan = layout(block)
        for a, b in itertools.combinations(plan.wires, 2):
            if (a.gap, a.track) == (b.gap, b.track):
                spans = [[spot.column for spot in (wire.top, *wire.bottom)] for wire in (a, b)]
                assert max(spans[0]) < min(spans[1]) or max(spans[1]) < min(spans[0]), (block.path, a.tensor, b.tensor)


@pytest.mark.parametrize("depth", [0, 1, 9])
def test_boxes_lie_beside_each_other_and_inside_their_blocks(root, depth):
    for box in boxes(arrange(describe(root, "net")["root"], depth)):
        for inner in box.inside:
            assert box.x <= inner.x and inner.x + inner.width <= box.x + box.width + 0.5
            assert box.y <= inner.y and inner.y + inner.height <= box.y + box.height + 0.5
        for a, b in itertools.combinations(box.inside, 2):
            beside = a.x + a.width <= b.x or b.x + b.width <= a.x
            assert beside or a.y + a.height <= b.y or b.y + b.height <= a.y, (a.node["id"], b.node["id"])


def test_a_chain_is_straight():
    """The convolutions, norms and ReLUs of a residual block are in one column, its shortcut is beside them."""
    root = network_tree(of_zoo("resnet", "resnet50"))
    block = root.children[5].children[1]
    plan = layout(block)
    assert {spot.column for spot in plan.spots} == {0}
    assert [(lane.tensor, lane.first, lane.last, lane.column) for lane in plan.lanes] == [("layer1.0", 1, 8, 1)]
    assert [spot.row for spot in plan.spots] == list(range(1, 11))


def test_cards_above_an_open_block_stand_over_its_line():
    """Opened, a block is wide, and its first layer not in the middle: what comes before it is moved there."""
    data = describe(network_tree(of_zoo("yolov8", "yolov8n")), "net")
    top = arrange(data["root"], 1)
    given, model = top.inside[0], top.inside[1]
    assert abs(given.x + given.width / 2 - model.port("input", "in")) < 1
    assert abs(given.x + given.width / 2 - (model.x + model.width / 2)) > 50


def test_rows_follow_the_computation():
    plan = layout(network_tree(small()))
    forward = [wire for wire in plan.wires if wire.top.kind == "child"]
    assert forward and all(end.row > wire.top.row for wire in forward for end in wire.bottom)


@pytest.mark.parametrize("depth", [0, 2])
def test_svg_is_well_formed_and_says_everything(root, depth):
    data = {**describe(root, "a <network> & more"), "depth": depth}
    tree = ElementTree.fromstring(svg([data]))
    texts = ["".join(text.itertext()) for text in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == "a <network> & more"
    shown = [box for box in boxes(arrange(data["root"], depth)) if not box.open]
    for box in shown:
        assert box.node["label"] in texts
    opened = [box for box in boxes(arrange(data["root"], depth)) if box.open]
    labels = [path.label[2] for box in opened for path in paths(box) if path.label]
    assert len(labels) >= len([box for box in shown if box.node["out"]]) and set(labels) <= set(texts)
