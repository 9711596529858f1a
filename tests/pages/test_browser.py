"""The pages as a browser draws them."""

import re

import pytest

from decant.pages import certificate, report
from tests.chromium import needs_chromium, page
from tests.pages import facts

pytestmark = [pytest.mark.slow, needs_chromium]

PHONE = 390
LONG = "draft-model:depth=12,width=4,policy=dynamic-tree"
TAKEN = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with page(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The addresses of both pages, with long names and hostile texts."""
    folder, said = tmp_path_factory.mktemp("pages"), facts.everything()
    said["race"]["methods"][1]["name"] = LONG
    said["texts"] += [{"prompt": TAKEN + "w" * 300, "tokens": [{"text": TAKEN + "w" * 300, "origin": "bonus"}]}]
    proved = facts.certificate({**facts.EQUALITY, "name": f"{LONG}: {TAKEN}", "holds": False}, facts.LAW)
    (folder / "report.html").write_text(report(said))
    (folder / "certificate.html").write_text(certificate(proved))
    return {name: (folder / f"{name}.html").as_uri() for name in ("report", "certificate")}


@pytest.mark.parametrize("name", ["report", "certificate"])
class TestEveryPage:
    @pytest.mark.parametrize("width", [320, PHONE, 1200])
    def test_nothing_is_wider_than_the_screen(self, tab, written, name, width):
        tab.open(written[name], width=width)
        assert tab.too_wide() == 0
        outside = (
            "return [...document.querySelectorAll('.dot, .tick, .column')].filter(one => {"
            "  const box = one.getBoundingClientRect(); return box.right > innerWidth || box.left < 0 }).length"
        )
        assert tab.run(outside) == 0

    def test_no_text_runs(self, tab, written, name):
        tab.open(written[name])
        assert tab.run("return document.title").endswith("house:target")
        assert not tab.faults()  # a script that is kept from running would be told, too

    def test_the_dark_scheme_is_dark(self, tab, written, name):
        light, dark = [self._ground(tab, written[name], dark) for dark in (False, True)]
        assert light > 200
        assert dark < 50

    def test_it_prints_on_light_paper(self, tab, written, name):
        tab.open(written[name], dark=True)
        tab.cdp("Emulation.setEmulatedMedia", media="print")
        assert tab.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        tab.cdp("Emulation.setEmulatedMedia", media="")
        printed = tab.printed()
        assert printed.startswith(b"%PDF")
        assert 1 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 12

    def _ground(self, tab, address, dark):
        tab.open(address, dark=dark)
        colour = tab.run("return getComputedStyle(document.body).backgroundColor")
        return int(re.search(r"\d+", colour)[0])


def test_what_scrolls_can_be_reached_by_keys(tab, written):
    tab.open(written["report"], width=PHONE)
    stuck = (
        "return [...document.querySelectorAll('*')].filter(one => one.scrollWidth > one.clientWidth + 1"
        " && ['auto', 'scroll'].includes(getComputedStyle(one).overflowX) && one.tabIndex < 0).length"
    )
    assert tab.run("return document.querySelectorAll('.scroll').length") >= 2
    assert tab.run(stuck) == 0


def test_a_whisker_is_drawn_between_its_ends(tab, written):
    tab.open(written["report"])
    across = (
        "return [...document.querySelectorAll('.dots .row')].map(row => ['.whisker', '.dot', '.level'].map(kind => {"
    )
    across += " const box = row.querySelector(kind)?.getBoundingClientRect(); return box && [box.left, box.right] }))"
    whisker, dot, level = tab.run(across)[1]  # draft-model, at 1.8 (1.6 to 2.0)
    assert level[0] < whisker[0] < dot[0] < dot[1] < whisker[1]
