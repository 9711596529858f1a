import pytest

from tests.apps.server.playground.canned import PLAYGROUND, WORDS, serving
from tests.chromium import needs_chromium, page

TEXT = "".join(WORDS)
ENTER, SHIFT, ESCAPE = "\ue007", "\ue008", "\ue00c"
ENDED = "return !document.querySelector('[aria-busy=true]') && document.querySelector('#stop').hidden"


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with page(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture
def server(tab):
    with serving() as found:
        tab.open(found.address)
        tab.wait("return document.querySelector('#model').innerText === 'house:target'")
        yield found
        # What a test refuses on purpose is told as a failed resource; anything else is a fault of the page.
        assert not [fault for fault in tab.faults() if "the server responded with a status of" not in fault]


def say(tab, text="What was it?"):
    tab.type("#message", text + ENTER)


def said(tab):
    tab.wait(ENDED)
    return tab.run("return [...document.querySelectorAll('.said')].map(one => one.textContent)")


def test_nothing_is_inline_and_nothing_comes_from_elsewhere():
    markup = (PLAYGROUND / "index.html").read_text()
    assert "style=" not in markup
    assert " on" + "click" not in markup
    for file in PLAYGROUND.iterdir():
        assert "http:" not in file.read_text(), file
        assert "https:" not in file.read_text(), file
        assert "innerHTML" not in file.read_text(), file


@pytest.mark.slow
@needs_chromium
class TestInABrowser:
    def test_an_answer_streams_with_its_drafted_tokens_marked(self, tab, server):
        say(tab)
        assert said(tab) == [TEXT]
        marked = tab.run("return [...document.querySelectorAll('.drafted')].map(one => one.textContent)")
        assert marked[1:] == [word for at, word in enumerate(WORDS) if at % 4]  # the first is the legend's
        assert tab.run("return document.querySelector('.said b')") is None
        assert server.asked[0]["decant"] == {"tokens": True}
        assert server.asked[0]["messages"] == [{"role": "user", "content": "What was it?"}]
        assert server.asked[0]["max_tokens"] == 256
        assert "temperature" not in server.asked[0]
        assert "tokens a call\n4.00" in tab.text(".meters")
        assert "drafted\n75 %" in tab.text(".meters")
        assert "the same tokens as plain decoding" in tab.text(".answer h2")

    def test_the_conversation_goes_on_and_begins_anew(self, tab, server):
        say(tab, "One")
        said(tab)
        say(tab, f"Two{SHIFT}{ENTER}{SHIFT}lines")
        said(tab)
        roles = [(one["role"], one["content"]) for one in server.asked[1]["messages"]]
        assert roles == [("user", "One"), ("assistant", TEXT), ("user", "Two\nlines")]
        tab.click("#fresh")
        say(tab, "Three")
        said(tab)
        assert len(server.asked[2]["messages"]) == 1

    def test_side_by_side_both_get_one_seed(self, tab, server):
        tab.click("[name=compare]")
        say(tab)
        assert said(tab) == [TEXT, TEXT]
        drafted, plain = server.asked
        assert plain["decant"] == {"tokens": True, "method": "plain"}
        assert drafted["seed"] == plain["seed"]
        assert tab.text(".verdict") == "2.50 times as fast as plain decoding. The texts are the same."

    def test_settings_are_sent(self, tab, server):
        for name, value in {"temperature": "0.7", "top_p": "0.9", "seed": "11", "system": "Be short."}.items():
            tab.type(f"[name={name}]", value)
        say(tab)
        said(tab)
        asked = server.asked[0]
        assert (asked["temperature"], asked["top_p"], asked["seed"]) == (0.7, 0.9, 11)
        assert asked["messages"][0] == {"role": "system", "content": "Be short."}

    def test_what_is_out_of_range_is_not_sent(self, tab, server):
        tab.type("[name=top_p]", "7")
        say(tab)
        assert tab.run("return document.querySelector('[name=top_p]').validity.rangeOverflow")
        assert not server.asked

    @pytest.mark.parametrize("how", ["escape", "button"])
    def test_a_stop_ends_the_request(self, tab, server, how):
        server.hold.clear()
        say(tab)
        tab.wait(f"return document.querySelectorAll('.said .token').length === {len(WORDS) - 1}")
        assert "tokens/s" in tab.text(".meters")  # live
        if how == "escape":
            tab.type("#message", ESCAPE)
        else:
            tab.click("#stop")
        assert server.left.wait(20)
        assert said(tab) == ["".join(WORDS[:-1])]
        assert tab.text(".answer h2") == "stopped"
        say(tab, "Go on")  # what was stopped is no part of the conversation
        server.hold.set()
        said(tab)
        assert [one["content"] for one in server.asked[-1]["messages"]] == ["Go on"]

    def test_a_full_line_says_when_to_ask_again(self, tab, server):
        server.busy = 3
        say(tab)
        assert "Too many requests wait; try again in 3 s" in tab.wait(
            "return document.querySelector('[role=alert]')?.innerText"
        )
        server.busy = None
        tab.click(".fault button")
        assert said(tab) == [TEXT]
        assert tab.run("return document.querySelector('[role=alert]')") is None

    def test_a_stream_that_breaks_says_why(self, tab, server):
        server.breaks = True
        say(tab)
        assert "The server is stopping." in tab.wait("return document.querySelector('[role=alert]')?.innerText")
        assert said(tab) == [TEXT]

    def test_a_key_is_asked_for_and_kept_in_memory_alone(self, tab, server):
        server.key = "s3cret"
        tab.open(server.address)
        assert "API key" in tab.wait(
            "const said = document.querySelector('#model').innerText; return said.includes('wants') && said"
        )
        assert tab.run("return document.activeElement.name") == "key"
        tab.type("[name=key]", "s3cret\t")
        tab.wait("return document.querySelector('#model').innerText === 'house:target'")
        say(tab)
        assert said(tab) == [TEXT]
        kept = tab.run(
            "return JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
        )
        assert "s3cret" not in kept

    def test_a_phone_shows_all_of_it(self, tab, server):
        tab.open(server.address, width=390, height=844)
        tab.wait("return document.querySelector('#model').innerText === 'house:target'")
        assert not tab.run("return document.querySelector('#settings').open")
        say(tab, "Wide " + "w" * 300)
        said(tab)
        assert tab.too_wide() == 0
        assert tab.run("return document.querySelector('#send').getBoundingClientRect().bottom") <= 844
