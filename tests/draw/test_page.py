"""The page, in a browser."""

import pytest

from netdefs.draw import assets, draw, drawing, script_json
from tests.browser import chromium, page  # noqa: F401
from tests.draw.nets import PICTURE, Small, of_zoo, small

TREE = "document.querySelectorAll('[data-id]').length"


@pytest.fixture
def shown(page, tmp_path):  # noqa: F811
    """Opens a drawing as a page; further arguments are those of `draw`."""

    def show(network, **options):
        draw(network, tmp_path / "net.html", **options)
        page.goto((tmp_path / "net.html").as_uri())
        return page

    return show


def ids(page):  # noqa: F811
    return page.evaluate("[...document.querySelectorAll('#drawing-0 [data-id]')].map(each => each.dataset.id)")


def test_blocks_open_and_close(shown):
    page = shown(small(), depth=0)  # noqa: F811
    assert ids(page) == ["*", "input:input", "stem", "blocks.*", "concat", "pool", "flatten", "fc.*", "logits",
                         "output:logits"]  # fmt: skip
    page.click("[data-id='blocks.*'] .nd-toggle")
    assert "blocks.0.*" in ids(page) and "blocks.0.conv1" not in ids(page)
    page.dblclick("[data-id='blocks.0.*']")
    assert "blocks.0.conv1" in ids(page)
    page.click("[data-id='blocks.*'] > .nd-head .nd-toggle")
    assert "blocks.0.*" not in ids(page)
    page.click("button[title='Open one level']")
    assert "blocks.1.*" in ids(page) and "blocks.1.conv1" not in ids(page)


def test_a_layer_tells_about_itself(shown):
    page = shown(small(), depth=2)  # noqa: F811
    page.click("[data-id='blocks.1.conv2']")
    told = page.inner_text(".nd-details")
    for words in ("blocks.1.conv2", "Convolution", "3×3", "groups 2", "1×8×8×8 float32", "8×4×3×3",
                  "blocks.1.conv2.weight", "tests.draw.nets, line"):  # fmt: skip
        assert words in told, told
    page.keyboard.press("Escape")
    assert page.is_hidden(".nd-details")


def test_search_reveals_what_is_inside(shown):
    page = shown(small(), depth=0)  # noqa: F811
    page.fill(".nd-search", "1.conv2")
    assert page.inner_text(".nd-found li").startswith("blocks.1.conv2")
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelector('.nd-selected').dataset.id") == "blocks.1.conv2"
    page.fill(".nd-search", "no such thing")
    assert page.inner_text(".nd-found") == "nothing has these words"


def test_keys(shown):
    page = shown(small(), depth=0)  # noqa: F811
    page.focus("[data-id='stem'], [data-id='input:input']")
    focused = "document.activeElement.dataset.id"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) == "blocks.*"
    page.keyboard.press("ArrowRight")
    assert "blocks.0.*" in ids(page) and page.evaluate(focused) == "blocks.*"
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) == "blocks.0.*"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert "blocks.0.*" not in ids(page)
    page.keyboard.press("Enter")
    assert page.is_visible(".nd-details")


def test_lines_end_at_boxes_and_nothing_overlaps(shown):
    """Measured in the browser, where fonts are what they are."""
    page = shown(of_zoo("yolov8", "yolov8n"), depth=9)  # noqa: F811
    wrong = page.evaluate("""() => {
      const wrong = [];
      for (const grid of document.querySelectorAll('.nd-grid')) {
        const boxes = [...grid.querySelectorAll(':scope > [data-id]')];
        const rects = boxes.map(box => box.getBoundingClientRect());
        const all = grid.parentElement.getBoundingClientRect();
        const ports = [...grid.querySelectorAll(':scope > .nd-port')].map(port => port.getBoundingClientRect());
        rects.forEach((a, i) => {
          const inside = all.left <= a.left && a.right <= all.right && a.bottom <= all.bottom;
          if (!inside) wrong.push(['out', boxes[i].dataset.id]);
          rects.slice(0, i).forEach((b, j) => {
            if (a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom) {
              wrong.push([boxes[i].dataset.id, boxes[j].dataset.id]);
            }
          });
        });
        const origin = grid.getBoundingClientRect();
        for (const arrows of grid.querySelectorAll(':scope > svg .nd-arrow')) {
          for (const [, x, y] of arrows.getAttribute('d').matchAll(/L([\\d.]+) ([\\d.]+)L/g)) {
            const [px, py] = [origin.left + Number(x), origin.top + Number(y)];
            const hits = box => box.left <= px && px <= box.right && Math.abs(box.top - py) < 2;
            if (![...rects, ...ports].some(hits)) wrong.push(['arrow', x, y]);
          }
        }
      }
      return wrong;
    }""")
    assert wrong == []
    assert page.evaluate("document.querySelectorAll('.nd-card').length") > 300


def test_a_large_network_is_built_as_it_is_opened(shown):
    page = shown(of_zoo("hrnet", "hrnet_w48"))  # noqa: F811
    assert page.evaluate(TREE) < 100
    page.evaluate("views[0].select('stage4.2.branches.3.3.conv2')")
    assert page.evaluate(TREE) < 250
    box = page.locator("[data-id='stage4.2.branches.3.3.conv2']").bounding_box()
    assert 0 < box["x"] < 1400 and 0 < box["y"] < 900


def test_side_by_side(shown):
    page = shown(small(lacking=["relu"]), beside=Small(), inputs=PICTURE, depth=2)  # noqa: F811
    assert "Modules without: blocks.0.relu, blocks.1.relu" in page.inner_text("header")
    assert page.evaluate("[...document.querySelectorAll('.nd-alone')].map(each => each.dataset.id)") == [
        "blocks.0.relu", "blocks.1.relu"]  # fmt: skip
    page.click("#drawing-0 [data-id='blocks.1.conv1']")
    selected = "[...document.querySelectorAll('.nd-selected')].map(each => each.dataset.id)"
    assert page.evaluate(selected) == ["blocks.1.conv1", "blocks.1.conv1"]
    page.click("#drawing-1 [data-id='fc']")
    assert page.evaluate(selected) == ["fc.*", "fc"]


def test_as_a_part_of_another_page(page, tmp_path):  # noqa: F811
    """What the report needs: colors, notes, choosing from outside, and no text of a network that ends the script."""
    css, js = assets()
    data = drawing(small(), name="</script><b>bold</b>")
    (tmp_path / "page.html").write_text(
        f"<!DOCTYPE html><meta charset=utf-8><style>{css}</style><div id=here style='height:600px'></div>"
        f'<script type="application/json" id=data>{script_json(data)}</script><script>{js}\n'
        "let limit = 1; const chosen = [];"
        "const view = netdefsDraw(document.getElementById('here'), JSON.parse(data.textContent), {"
        "depth: 0, details: false, toolbar: false, onselect: node => chosen.push(node && node.id),"
        "color: node => node.id === 'stem' && limit < 2 ? '#cc0000' : null,"
        "note: node => node.kind === 'block' ? `${node.layers} in all` : ''}); </script>",
        encoding="utf-8",
    )
    page.goto((tmp_path / "page.html").as_uri())
    assert page.is_hidden(".nd-bar") and page.inner_text(".nd-head .nd-name") == "</script><b>bold</b>"
    assert page.inner_text("[data-id='blocks.*'] .nd-note") == "10 in all"
    assert page.evaluate("document.querySelectorAll('.nd-colored').length") == 1
    page.evaluate("limit = 2; view.recolor()")
    assert page.evaluate("document.querySelectorAll('.nd-colored').length") == 0
    assert page.evaluate("view.select('blocks.1.conv2').path") == "blocks.1.conv2"
    assert page.evaluate("view.select('nothing')") is None
    page.evaluate("view.select('stem', {quiet: true}); view.select(null)")
    assert page.evaluate("chosen") == ["blocks.1.conv2", None]
    assert page.evaluate("view.inside(view.node('blocks.*')).length") == 10
    page.evaluate("view.destroy()")
    assert page.inner_html("#here") == ""


def test_dark_and_light(shown):
    page = shown(small())  # noqa: F811
    paper = "getComputedStyle(document.querySelector('.nd-draw')).backgroundColor"
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    page.click(".theme")
    assert page.evaluate(paper) == "rgb(20, 24, 30)"
    page.emulate_media(color_scheme="dark")
    page.click(".theme")
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
