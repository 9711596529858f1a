"""The pages: whole without their parts, safe with any text, and never kinder than their numbers."""

import re
from itertools import pairwise
from typing import Any

import pytest

from decant.bench.speed import KEYS
from decant.pages import certificate, rendering, report
from tests.pages import facts
from tests.pages.facts import EQUALITY, LAW, PARTING, race, row
from tests.pages.markup import Markup

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}&"
KEPT = {"promise", "origin", "cause", "unit"}  # what the code reads, not the reader
MEANT = {"html", "head", "meta", "link", "title", "style", "body", "main", "header", "section", "article", "figure"}
MEANT |= {"figcaption", "h1", "h2", "h3", "p", "ul", "ol", "li", "dl", "dt", "dd", "div", "span", "strong", "i", "pre"}
MEANT |= {"code", "table", "caption", "thead", "tbody", "tr", "th", "td", "details", "summary", "svg", "defs", "rect"}
MEANT |= {"pattern", "circle", "line", "path", "text", "img"}
PAGES = {"report": lambda: report(facts.everything()), "certificate": lambda: certificate(facts.certificate())}


def hostile(said: Any, name: str = "") -> Any:
    """The same, and every text of it an attack."""
    if isinstance(said, dict):
        return {key: hostile(value, key) for key, value in said.items()}
    if isinstance(said, list):
        return [hostile(one, name) for one in said]
    return HOSTILE if isinstance(said, str) and name not in KEPT else said


def attacked(page: str) -> bool:
    """Whether markup came in with the texts."""
    found = Markup(page)
    return any(name not in MEANT or any(key.startswith("on") for key in one) for name, one in found.elements)


def test_the_rows_of_these_tests_are_those_of_a_race():
    assert set(row("a", (1.0, 1.0, 1.0))) == set(KEYS)


@pytest.mark.parametrize("name", PAGES)
class TestEveryPage:
    def test_it_needs_nothing_from_elsewhere(self, name):
        page = PAGES[name]()
        assert not re.search(r"https?:|//[a-z]|@import|@font-face|<script|javascript:", page)
        assert "default-src 'none'" in page
        assert all(one["href"] == "data:," for one in Markup(page).named("link"))

    def test_charts_tell_what_they_show_or_are_told_beside(self, name):
        for chart in Markup(PAGES[name]()).named("svg"):
            inner = set(chart) <= {"x", "y", "overflow"}
            assert inner or chart.get("aria-hidden") == "true" or (chart["role"] == "img" and chart["aria-label"])

    def test_tables_name_their_rows_and_columns(self, name):
        assert all(one.get("scope") in {"row", "col"} for one in Markup(PAGES[name]()).named("th"))

    def test_ids_are_there_once_and_headings_go_down_a_step_at_a_time(self, name):
        found = Markup(PAGES[name]())
        ids = [one["id"] for _, one in found.elements if "id" in one]
        assert len(ids) == len(set(ids))
        levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch(r"h\d", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))


class TestTextsFromOutside:
    def test_no_text_becomes_markup(self):
        assert not attacked(report(hostile(facts.everything())))
        failing = {**EQUALITY, "holds": False, "first_divergence": PARTING, "divergences": [PARTING, PARTING]}
        assert not attacked(certificate(hostile(facts.certificate(failing, LAW))))

    def test_it_is_shown_as_it_is(self):
        texts = [{"prompt": HOSTILE, "tokens": [{"text": HOSTILE, "origin": "drafted"}]}]
        assert Markup(report({"texts": texts})).text.count(HOSTILE) == 2

    def test_a_page_that_does_not_escape_is_caught(self, monkeypatch):
        careless = rendering._environment().overlay(autoescape=False)
        monkeypatch.setattr(rendering, "_environment", lambda: careless)
        with pytest.raises(AssertionError):  # not even closed, or not what was meant
            assert not attacked(report({"texts": [{"prompt": "<script>alert(1)</script>", "tokens": []}]}))


class TestTheReport:
    def test_all_parts_are_there(self):
        found = Markup(report(facts.everything()))
        for heading in (
            *("Ranking", "Plan", "Quality and speed", "Predicted and measured", "Acceptance by position"),
            *("Where time goes", "What a pass costs", "Texts", "Images", "Certificate", "Not covered"),
            "Machine and settings",
        ):
            assert heading in found.text
        assert "avx2, avx512f" in found.text
        assert "5,401,856" in found.text
        assert "medusa was skipped: it needs a head" in found.words
        assert "At batch 8, temperature 0.5" in found.words
        assert "Batch 8, temperature 0: Nothing is faster." in found.words

    @pytest.mark.parametrize("part", ["race", "costs", "plan", "certificate", "texts", "predictions", "images"])
    def test_any_part_may_be_alone_or_missing(self, part):
        whole = facts.everything()
        assert Markup(report({part: whole[part]})).named("h1")
        assert Markup(report({name: said for name, said in whole.items() if name != part})).named("h1")

    def test_nothing_at_all_advises_nothing(self):
        assert "nothing is advised" in Markup(report({})).text

    def test_a_plan_speaks_first(self):
        said = "At batch 1, temperature 0: use draft-model:depth=4. It is 1.80 times as fast as plain decoding."
        assert said in Markup(report({"plan": facts.PLAN, "race": race()})).words
        off = {"choices": facts.PLAN["choices"][1:]}
        assert "At batch 8, temperature 0: leave it off." in Markup(report({"plan": off, "race": race()})).words

    def test_a_plan_says_that_its_speed_was_timed_once_more(self):
        scenes = [{"batch": 1, "temperature": 0.0, "ranking": [], "confirmed": {"median": 1.8}}]
        assert "timed once more" in Markup(report({"plan": facts.PLAN, "scenes": scenes})).words
        assert "timed once more" not in Markup(report({"plan": facts.PLAN})).words

    def test_a_method_that_never_called_the_target_has_no_length(self):
        said = row("ead", (1.8, 1.6, 2.0), acceptance_length=None, acceptance_by_position=[0.5])
        page = report({"race": race(said)})
        assert "<td>-</td>" in page
        assert "ead</strong></figcaption>" in page

    def test_a_race_may_say_what_its_whiskers_are(self):
        assert "The dot is the median of 3 repeats, the whisker goes" in Markup(report({"race": race()})).words
        said = Markup(report({"race": {**race(), "spread": "whiskers are 95 % intervals"}})).words
        assert "Whiskers are 95 % intervals. At 1" in said
        assert "the lowest to the highest" not in said

    def test_who_was_skipped_for_one_reason_is_named_together(self):
        found = race()
        found["methods"] += [{**found["methods"][-1], "name": "eagle"}]
        assert "medusa and eagle were skipped: it needs a head" in Markup(report({"race": found})).words

    def test_a_command_that_is_given_counts(self):
        assert (
            "decant serve X --plan out" in Markup(report({"race": race(), "command": "decant serve X --plan out"})).text
        )

    def test_predictions_tell_their_error(self):
        words = Markup(report({"predictions": facts.everything()["predictions"]})).words
        assert "1.50 predicted, 2.00 (1.80 to 2.20) measured (-25 %)" in words
        assert "0.80 predicted, not measured" in words

    def test_qualities_that_are_given_replace_the_race(self):
        points = [{"name": "a", "speedup": 2.0, "quality": 0.5}, {"name": "b", "speedup": 1.0, "quality": 0.4}]
        words = Markup(report({"frontier": points, "race": race()})).words
        assert "a: 2.00 times the speed, quality 0.5" in words
        assert "b: 1.00 times the speed, quality 0.4; another is as good or better in both" in words

    def test_a_race_without_loss_has_no_frontier(self):
        assert "Quality and speed" not in report({"race": race(row("draft-model", (1.8, 1.6, 2.0)))})

    def test_tokens_are_marked_by_origin(self):
        page = report({"texts": facts.TEXTS})
        assert '<span class="drafted"> is<i aria-hidden="true">↵</i>\n</span><span class="corrected">9</span>' in page
        assert "2 drafted, 1 corrected, 1 bonus, 1 plain" in Markup(page).words

    def test_a_token_that_writes_nothing_is_left_out(self):
        end = {"prompt": "", "tokens": [*facts.TEXTS[0]["tokens"], {"text": "", "origin": "drafted"}]}
        assert "2 drafted, 1 corrected, 1 bonus, 1 plain" in Markup(report({"texts": [end]})).words

    def test_an_origin_that_nobody_knows_is_plain(self):
        page = report({"texts": [{"prompt": "", "tokens": [{"text": "x", "origin": '"><b>'}]}]})
        assert '<span class="plain">x</span>' in page


class TestTheCertificate:
    def test_the_verdict_comes_first(self):
        words = Markup(certificate(facts.certificate())).words
        assert words.index("It holds: 2 checks, none failed.") < words.index("Checks")

    def test_a_check_that_fails_is_named_in_it(self):
        words = Markup(certificate(facts.certificate({**EQUALITY, "holds": False}, LAW))).words
        assert "It does not hold: 1 check of 2 failed, draft-model: the same tokens as plain decoding." in words
        assert words.count("fails") == 1 + words.count("and fails")

    def test_nothing_checked_is_no_success(self):
        words = Markup(certificate({**facts.certificate(), "checks": [], "holds": None})).words
        assert "Nothing was checked." in words
        assert "holds" not in words

    def test_evidence_power_faults_and_gaps_are_told(self):
        words = Markup(certificate(facts.certificate())).words
        assert "4 of 4 prompts identical, 93 tokens." in words
        assert "chi-square 13.84, p = 0.345 over 2 prompts, 2,000 continuations behind each" in words
        assert "Power 0.999: the chance that a fault like the planted one is caught." in words
        assert "caught: a verifier that keeps one guess more than it should (drafter: the method's own)" in words
        assert "Whether the model's text is any good." in words

    @pytest.mark.parametrize(
        ("caught", "said"), [(False, "not caught: a wrong"), (None, "could not show itself: a wrong")]
    )
    def test_a_fault_that_was_overlooked_is_not_called_caught(self, caught, said):
        assert said in Markup(certificate(facts.certificate({**LAW, "planted_fault_caught": caught}))).words

    def test_another_test_has_its_own_name(self):
        words = Markup(certificate(facts.certificate({**LAW, "test": "shuffled groups", "sites": []}))).words
        assert "shuffled groups 13.84, p = 0.345" in words
        assert "chi-square" not in words

    def test_the_first_difference_is_explained(self):
        parted = {**EQUALITY, "holds": False, "first_divergence": PARTING, "divergences": [PARTING]}
        assert (
            "Prompt 3, token 8: plain decoding says id 33, by a margin of 0.8; the method says nothing more. "
            "Unexplained: rounding moves up to 0.0001, which is less."
        ) in Markup(certificate(facts.certificate(parted))).words

    def test_a_near_tie_is_called_one_and_texts_part_at_characters(self):
        near = {**PARTING, "cause": "near-tie", "margin": 0.1, "tolerance": 0.25}
        text = {**near, "unit": "characters", "plain": " yes", "method": " no"}
        words = Markup(certificate(facts.certificate({**EQUALITY, "first_divergence": text}))).words
        assert "character 8: the twin says ' yes', by a margin of 0.1; the engine says ' no'. A near-tie" in words

    def test_of_many_differences_some_are_listed_and_the_others_counted(self):
        many = {**EQUALITY, "first_divergence": PARTING, "divergences": [PARTING] * 50}
        words = Markup(certificate(facts.certificate(many))).words
        assert "49 more differences" in words
        assert "30 others, which the JSON lists." in words

    def test_what_the_page_does_not_know_is_shown_as_it_is(self):
        more = {**LAW, "smallest_share_caught": 0.0625, "by_chance": {"mean": 1.5}}
        words = Markup(certificate(facts.certificate(more))).words
        assert "smallest share caught0.0625" in words
        assert "by chance · mean1.5" in words

    def test_lists_that_the_page_does_not_know_are_tables(self):
        steps = [{"setting": "top_k 40", "moved": 0.01}, {"setting": "min_p 0.05", "wrong_rows": 3}]
        words = Markup(certificate(facts.certificate({**LAW, "steps": steps}))).words
        assert "steps settingmovedwrong rows top_k 400.01 min_p 0.053" in words

    def test_company_and_settings_have_evidence_too(self):
        company = {name: said for name, said in EQUALITY.items() if name != "identical"}
        settings = {**LAW, "p_value": None, "statistic": 0.25, "test": "total variation, the largest"}
        company |= {"near_ties": 2, "company": {"all at once": {"differ": 2, "of": 4}}}
        words = Markup(certificate(facts.certificate(company, settings))).words
        assert "All at once: 2 of 4 differ." in words
        assert "4 prompts: 2 near-ties, 0 unexplained." in words
        assert "total variation, the largest: 0.25." in words

    def test_what_was_typed_runs_it_again(self):
        found = Markup(certificate({**facts.certificate(), "again": {"typed": {"model": "x", "seed": 3}, "marks": {}}}))
        assert "decant prove --again certificate.json" in found.words
        assert "modelx seed3" in found.words

    def test_a_run_that_repeats_another_says_how_it_came_out(self):
        same = {"file": "c.json", "same": True, "differ": [], "same_machine": False}
        words = Markup(certificate({**facts.certificate(), "repeats": same})).words
        assert "Every verdict is that of c.json. It ran on another machine." in words
        other = {**same, "same": False, "differ": [{"name": "a", "then": True, "now": None}], "same_machine": True}
        words = Markup(certificate({**facts.certificate(), "repeats": other})).words
        assert "Verdicts are not those of c.json. a: held then, was not there in this run." in words

    def test_what_runs_it_again_is_shown(self):
        assert "decant prove --again c.json" in certificate(
            {**facts.certificate(), "command": "decant prove --again c.json"}
        )
