"""The playground over a real server: what it reads in answers is what the server writes there."""

import pytest

from tests.chromium import needs_chromium, page

pytestmark = [pytest.mark.slow, needs_chromium]

ENDED = "return !document.querySelector('[aria-busy=true]') && document.querySelector('#stop').hidden"


@pytest.fixture(scope="module")
def tab(tmp_path_factory, live):
    with page(tmp_path_factory.mktemp("browser")) as found:
        found.open(f"{live.url}/")
        found.wait("return document.querySelector('#model').innerText === 'org/tiny'")
        yield found


def shown(tab, selector):
    return tab.run("return [...document.querySelectorAll(arguments[0])].map(one => one.textContent)", selector)


def test_both_ways_of_decoding_say_the_same(tab):
    tab.click("[name=compare]")
    tab.run("document.querySelector('[name=max_tokens]').value = 24")
    tab.type("#message", "Take 1, then add 2.\ue007")
    tab.wait("return document.querySelector('.verdict') || document.querySelector('.fault')")
    tab.wait(ENDED)
    assert not shown(tab, ".fault")
    drafted, plain = shown(tab, ".said")
    assert drafted == plain != ""
    assert "The texts are the same." in tab.text(".verdict")
    assert [one.split(" · ")[0] for one in shown(tab, ".answer h2")] == ["draft-model", "plain"]
    told = tab.run(
        "return [...document.querySelectorAll('.answer')].map(one => [...one.querySelectorAll('dd')].length)"
    )
    assert told == [6, 6]  # tokens/s, tokens a call, drafted, tokens, first token, seed
    assert shown(tab, ".answer:last-child .drafted") == []
    assert not tab.faults()


def test_a_refusal_of_the_server_is_told_in_its_own_words(tab):
    tab.run("document.querySelector('[name=max_tokens]').value = 100000")
    tab.type("#message", "More\ue007")
    said = tab.wait("return document.querySelector('[role=alert]')?.innerText")
    assert said.startswith("max_tokens is at most 900 here, got 100000.")


def test_no_other_page_frames_it(tab, live, tmp_path):
    (tmp_path / "frame.html").write_text(f"<iframe src='{live.url}/'></iframe>")
    tab.faults()  # of what other tests were refused
    tab.open(f"{live.url}/")
    tab.wait("return document.querySelector('#model').innerText === 'org/tiny'")
    assert not tab.faults()
    tab.open(f"file://{tmp_path}/frame.html")
    said = tab.wait("return document.readyState === 'complete'") and tab.faults()
    assert any("frame-ancestors 'none'" in one for one in said)
