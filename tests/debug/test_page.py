"""The HTML page of a report, in headless Chromium."""

import dataclasses
import pickle
from collections import OrderedDict

import pytest
from torch import nn

import netdefs
from netdefs.debug.metrics import Tolerance
from netdefs.debug.page.content import content
from tests.browser import chromium, page  # noqa: F401
from tests.debug.nets import Net, build, network, picture, seeded
from tests.debug.test_compare import opaque


@pytest.fixture(scope="module")
def module():
    return seeded(Net())


@pytest.fixture(scope="module")
def wrong(module):
    return netdefs.compare(network(module, "upsample"), module, picture(), details=True)


@pytest.fixture
def opened(page, wrong, tmp_path):  # noqa: F811
    return open_page(page, wrong, tmp_path)


def open_page(browser, report, folder, hash=""):
    path = folder / "report.html"
    report.to_html(path)
    browser.goto(path.as_uri() + hash)
    return browser


def settle(browser):
    """Waits until the browser has drawn what it was told."""
    browser.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def cells(browser, column):
    """The text of a column in all rows that the filter leaves: for a printer, the table builds them all."""
    browser.emulate_media(media="print")
    settle(browser)
    texts = browser.locator(f".row > :nth-child({column})").all_inner_texts()
    browser.emulate_media(media="screen")
    return texts


def verdicts(browser):
    return cells(browser, 3)


def names(browser):
    return cells(browser, 2)


def set_tolerances(browser, chained, isolated):
    for way, value in (("chained", chained), ("isolated", isolated)):
        field = browser.get_by_label(f"Tolerance {way}", exact=True)
        field.fill(repr(value))
        field.press("Enter")
    browser.wait_for_timeout(120)  # it judges once the fields rest


def test_it_opens_on_the_verdict(opened, wrong):
    top = opened.locator("#verdict").inner_text()
    assert "First wrong layer" in top
    assert opened.locator("h1 a").inner_text() == "up"
    assert opened.locator("#verdict .chip").inner_text() == "own error"
    assert "resizes bilinear" in top
    assert opened.locator("#verdict .number b").all_inner_texts() == ["0.1643", "0"]
    answers = opened.locator(".answers dd").all_inner_texts()
    assert answers == list(wrong.answers.values())
    assert verdicts(opened) == [row.verdict for row in wrong.rows]
    panel = opened.locator("#layer").inner_text()
    for text in (
        "up",
        "own error",
        "fed PyTorch’s values",
        "tests.debug.nets",
        "2×8×8×12",
        "branches.low",
        "agrees from",
    ):
        assert text in panel
    assert opened.locator("#layer .maps canvas").count() >= 3


def at(report, chained, isolated):
    """The report as it would be at other tolerances."""

    def moved(metrics, tolerance):
        return metrics and dataclasses.replace(metrics, ok=metrics.needed <= tolerance)

    rows = [
        dataclasses.replace(row, chained=moved(row.chained, chained), isolated=moved(row.isolated, isolated))
        for row in report.rows
    ]
    return dataclasses.replace(report, rows=rows, tolerance=Tolerance(chained, isolated))


def test_another_tolerance_gives_what_another_run_gives(opened, wrong, module):
    net = network(module, "upsample")
    for tolerance in (1e-9, 1e-7, 1e-3, 0.164338, 0.5):
        again = netdefs.compare(net, module, picture(), tolerance=tolerance)
        set_tolerances(opened, tolerance, tolerance)
        shown = dict(zip(names(opened), verdicts(opened), strict=True))
        assert {row.name: row.verdict for row in again.rows} == {row.name: shown[row.name] for row in again.rows}
        assert opened.locator("body").get_attribute("data-ok") == str(again.ok).lower()
        opened.get_by_role("button", name="as run").click()
        assert verdicts(opened) == [row.verdict for row in wrong.rows]


def test_each_way_has_its_tolerance(opened, wrong):
    for chained, isolated in ((1e-6, 1.0), (1.0, 1e-6), (1e-7, 5e-8), (1e-9, 1e-9), (0.5, 0.164338)):
        moved = at(wrong, chained, isolated)
        set_tolerances(opened, chained, isolated)
        assert verdicts(opened) == [row.verdict for row in moved.rows]
        first = opened.locator("h1").inner_text()
        assert first.startswith("Agrees" if moved.ok else moved.first_bad.name)
        counts = opened.locator(".tally li button").all_inner_texts()
        found = [sum(row.verdict == word for row in moved.rows) for word in ("own error", "wrong", "inherited", "ok")]
        assert [int(text.split()[0]) for text in counts] == [count for count in found if count]


def test_a_tolerance_that_is_none_is_refused(opened):
    field = opened.get_by_label("Tolerance chained", exact=True)
    field.fill("-1")
    field.press("Enter")
    assert field.get_attribute("aria-invalid") == "true"
    assert "positive number" in field.get_attribute("title")


def test_the_table_sorts_and_filters(opened, wrong):
    opened.get_by_role("columnheader", name="isolated").click()
    assert names(opened)[0] == "up"
    opened.get_by_role("columnheader", name="layer").click()
    assert names(opened)[:3] == ["bn1", "branches.high", "branches.low"]
    box = opened.get_by_label("Filter by name")
    box.fill("layer?.0.conv*")
    assert names(opened) == [f"layer{i}.0.conv{j}" for i in (1, 2) for j in (1, 2)]
    box.fill("UP")
    assert names(opened) == ["up"]
    box.fill("")
    opened.get_by_role("button", name="inherited").last.click()
    assert names(opened) == sorted((r.name for r in wrong.rows if r.verdict == "inherited"), key=str.lower)
    opened.get_by_role("button", name="clear").click()
    opened.get_by_label("Filter by type").select_option("Linear")
    assert names(opened) == ["fc1", "fc2"]
    box.fill("nothing like it")
    assert opened.locator(".none").inner_text() == "No row fits the filter."


def test_links_keys_and_neighbors(page, wrong, tmp_path):  # noqa: F811
    browser = open_page(page, wrong, tmp_path, "#layer1.0.conv1")
    panel = browser.locator("#layer h2")
    assert panel.inner_text() == "layer1.0.conv1"
    browser.locator(".row.chosen").wait_for()
    browser.keyboard.press("j")
    assert panel.inner_text() == "layer1.0.bn1"
    browser.keyboard.press("k")
    browser.keyboard.press("n")
    assert panel.inner_text() == "up"
    assert browser.evaluate("location.hash") == "#up"
    browser.locator(".rows").focus()
    browser.keyboard.press("ArrowDown")
    assert panel.inner_text() == wrong.rows[wrong.rows.index(wrong.first_bad) + 1].name
    browser.keyboard.press("/")
    browser.keyboard.type("fc2")
    assert names(browser) == ["fc2"]
    browser.evaluate("location.hash = '#layer1.1'")
    browser.locator("#layer h2", has_text="layer1.1").wait_for()


def test_the_network_is_colored_by_its_errors(opened):
    opened.get_by_role("button", name="in the network").click()
    chosen = opened.locator("#network-view .nd-note", has_text="1.6e−1").last
    chosen.wait_for()
    opened.get_by_label("Color by").select_option("chained")
    opened.locator(".legend .limit").wait_for()
    opened.locator(".nd-search").fill("mix")
    opened.locator(".nd-found li").first.click()
    assert opened.locator("#layer h2").inner_text().startswith("mix")


def test_names_are_text_wherever_they_stand(page, tmp_path):  # noqa: F811
    name = '</script><b>"&amp;'
    module = seeded(
        nn.Sequential(OrderedDict({name: nn.Conv2d(3, 4, 1), "<img src=x onerror=alert(1)>": nn.Conv2d(4, 4, 1)}))
    )

    def define(net, x):
        first, second = module._modules
        return net.output(net.conv(net.conv(x, first, 4, 1), second, 4, 1), "<i>out</i>")

    net = build(define, module.state_dict(), (1, 3, 8, 8))
    module[0].weight.data *= 2
    browser = open_page(page, netdefs.compare(net, module, picture(1, 3, 8, 8), details=True), tmp_path)
    assert browser.locator("h1 a").inner_text() == name
    assert names(browser) == [*module._modules, "<i>out</i>"]
    assert browser.locator("main b, main i, main img").filter(has_text="out").count() == 0
    assert browser.locator("img").count() == 0


def test_without_details_network_or_isolation(page, module, tmp_path):  # noqa: F811
    report = netdefs.compare(network(module, "upsample"), module, picture(), mode="chained")
    browser = open_page(page, pickle.loads(pickle.dumps(report)), tmp_path)
    assert "unpickled" in browser.locator("#network").inner_text()
    assert "details=True" in browser.locator("#layer").inner_text()
    assert browser.locator("#verdict .chip").inner_text() == "wrong"
    assert browser.get_by_label("Tolerance isolated", exact=True).count() == 0
    assert set(verdicts(browser)) == {"ok", "wrong"}


def test_an_engine_on_a_gpu(page, module, tmp_path):  # noqa: F811
    with netdefs.build(network(module, "upsample"), target="cpu", outputs=("up", "branches.*")) as engine:
        report = netdefs.compare(opaque(engine), module, picture(), details=True)
    browser = open_page(page, report, tmp_path)
    assert "can't be drawn" in browser.locator("#network").inner_text()
    assert names(browser) == [row.name for row in report.rows]
    browser.locator(".row", has_text="up").click()
    assert browser.locator("#layer .maps canvas").count() == 3


def test_several_inputs(page, module, tmp_path):  # noqa: F811
    inputs = [picture(seed=seed) for seed in (1, 2)]
    report = netdefs.compare(network(module, "upsample"), module, inputs, details=True)
    browser = open_page(page, report, tmp_path)
    assert "wrong in 2 of 2, the worst is" in browser.locator("#layer .facts").inner_text()


def test_what_agrees_and_what_is_nan(page, module, tmp_path):  # noqa: F811
    right = netdefs.compare(network(module), module, picture())
    browser = open_page(page, right, tmp_path)
    assert browser.locator("h1").inner_text() == "Agrees with PyTorch"
    x = picture()
    x[:] = float("nan")
    browser = open_page(page, netdefs.compare(network(module), module, x, details=True), tmp_path)
    assert browser.locator("h1").inner_text() == "Nothing can be said"


def test_a_thousand_layers(page, wrong, tmp_path):  # noqa: F811
    rows = [dataclasses.replace(row, name=f"{k}.{row.name}", cause=None) for k in range(24) for row in wrong.rows]
    large = dataclasses.replace(wrong, rows=rows, session=None)
    browser = open_page(page, large, tmp_path)
    assert len(rows) > 1000
    assert (tmp_path / "report.html").stat().st_size < 5e6
    assert 10 < browser.locator(".row").count() < 80
    browser.locator(".rows").focus()
    browser.keyboard.press("End")
    assert browser.locator(".row.chosen > :nth-child(2)").inner_text() == rows[-1].name
    browser.emulate_media(media="print")
    browser.locator(".row").nth(1000).wait_for(state="attached")


@pytest.mark.parametrize("width", [360, 800, 1400, 2400])
def test_nothing_is_wider_than_the_window(opened, width):
    opened.set_viewport_size({"width": width, "height": 900})
    opened.wait_for_timeout(100)
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    if width < 1080:
        assert not opened.locator("#side").is_visible()
        opened.locator(".row").first.click()
        opened.locator("#side").wait_for(state="visible")
        opened.get_by_role("button", name="×").click()
        opened.locator("#side").wait_for(state="hidden")


def test_a_row_may_be_drawn_again_while_it_is_pressed(opened):
    def press(name, meanwhile):
        opened.locator(".row", has_text=name).first.hover()
        opened.mouse.down()
        meanwhile()
        settle(opened)
        opened.mouse.up()
        assert opened.locator("#layer h2").inner_text() == name

    rows = opened.locator(".rows")
    rows.evaluate("rows => rows.scrollTo(0, 0)")
    press("layer1.0.conv1", lambda: rows.evaluate("rows => rows.scrollBy(0, 3)"))
    press("layer1.0.bn1", lambda: opened.set_viewport_size({"width": 1390, "height": 900}))
    # The press ends the typing of a tolerance, so all is judged again.
    opened.get_by_label("Tolerance chained", exact=True).fill("0.0002")
    press("layer1.0.conv2", lambda: opened.locator("#back").wait_for(state="visible"))


def test_light_and_dark(opened):
    def paper():
        return opened.evaluate("getComputedStyle(document.body).backgroundColor")

    legend = opened.locator(".legend i").first
    bright = legend.get_attribute("style")
    opened.emulate_media(color_scheme="dark")
    settle(opened)
    dark = paper()
    assert legend.get_attribute("style") != bright  # pale colors would stand out
    opened.locator("#theme").click()
    assert opened.locator("#theme").inner_text() == "light"
    assert paper() == "rgb(255, 255, 255)" != dark
    assert legend.get_attribute("style") == bright
    opened.locator("#theme").click()
    opened.emulate_media(color_scheme="light")
    assert paper() == dark


def test_numbers_that_decide_are_exact(wrong):
    rows = content(wrong)["rows"]
    assert [r["chained"]["needed"] for r in rows] == [r.chained.needed for r in wrong.rows]
    assert [r["isolated"]["needed"] for r in rows] == [r.isolated.needed for r in wrong.rows]
