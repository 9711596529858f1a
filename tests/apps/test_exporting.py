"""From `--method` and `--draft` to what an engine is asked for."""

import json

import pytest

from decant.apps.exporting import Drafting, chosen
from decant.errors import BadInput, UnknownMethod
from decant.export.source import Source
from decant.models.build import add_settings
from decant.models.heads import folder as heads
from decant.models.heads.spec import HeadSpec
from decant.tune.plan import Choice, Plan


@pytest.fixture(scope="module")
def source(folder):
    return Source.open(str(folder))


@pytest.fixture(scope="module")
def eagle(source, tmp_path_factory):
    """A head that was taught nothing."""
    out = tmp_path_factory.mktemp("heads") / "eagle"
    heads.save(heads.untrained(HeadSpec.beside("eagle", "target", source.config)), out)
    return out


def asked(source, method=None, draft=None, policy=None):
    return Drafting(method, draft, policy).asked(source)


def test_a_draft_of_the_model_s_own_is_taken_by_default(source, draft_folder, stranger_folder):
    found = asked(source)
    assert (found.method, found.depth, found.width) == ("draft-model", 5, 1)
    assert found.draft.folder.resolve() == draft_folder
    assert asked(source, draft=str(stranger_folder)).draft.folder == stranger_folder


def test_without_a_draft_the_prompt_is_looked_up(draft_folder):
    found = asked(Source.open(str(draft_folder)))
    assert (found.method, found.draft, found.head) == ("prompt-lookup", None, None)
    assert found.knobs == {"ngram": 3, "min_ngram": 1}


@pytest.mark.parametrize(
    ("method", "policy", "drawn"),
    [
        ("draft-model:depth=3", None, (3, 1, None)),
        ("draft-model", "fixed:depth=2:width=2", (2, 2, None)),
        ("draft-tree", None, (6, 8, 48)),
        ("draft-tree:depth=4:budget=9", None, (4, 8, 9)),
        ("draft-model", "additive", (5, 1, None)),
        ("draft-model", "template:branches=3-2-1", (3, 3, 15)),
    ],
)
def test_depth_width_and_budget_come_from_the_policy(method, policy, drawn, source):
    found = asked(source, method, policy=policy)
    assert (found.depth, found.width, found.budget) == drawn


def test_knobs_of_a_drafter_are_handed_on(source):
    assert asked(source, "prompt-lookup:ngram=4:depth=9").knobs == {"ngram": 4, "min_ngram": 1}
    assert asked(source, "prompt-lookup:ngram=4:depth=9").depth == 9
    assert asked(source, "suffix").knobs["longest"] == 32
    with pytest.raises(BadInput, match="prompt-lookup has no knob 'gram'; did you mean"):
        asked(source, "prompt-lookup:gram=4")


def test_a_head_calls_for_its_method(source, eagle):
    assert asked(source, draft=str(eagle)).method == "eagle"
    found = asked(source, "eagle-2", draft=str(eagle))
    assert (found.method, found.head, found.draft) == ("eagle-2", eagle, None)
    assert asked(source, f"eagle:head={eagle}").head == eagle
    with pytest.raises(
        BadInput, match=r"eagle3 reads a head of kind eagle3, and .* holds one of kind eagle; give another"
    ):
        asked(source, "eagle3", draft=str(eagle))
    with pytest.raises(
        BadInput, match=r"draft-model needs a draft model, and .* is a head of kind eagle; give a model"
    ):
        asked(source, "draft-model", draft=str(eagle))
    with pytest.raises(
        BadInput, match="names no medusa head; give its folder with --draft, or teach one: decant distill"
    ):
        asked(source, "medusa")


def test_the_head_that_decant_json_names_is_found(folder, eagle, tmp_path):
    source = Source.open(str(folder))
    whose = tmp_path / "target"
    whose.mkdir()
    add_settings(whose, "decant.json", {"heads": {"eagle": str(eagle)}})
    found = Drafting("eagle", None).asked(Source(str(whose), source.network, source.tokenizer, whose))
    assert found.head == eagle


def test_what_there_is_not_is_refused_before_a_model_is_read():
    with pytest.raises(UnknownMethod, match="no method is called 'promt-lookup'; did you mean prompt-lookup"):
        Drafting("promt-lookup", None).refuse(("transformers",))
    with pytest.raises(BadInput, match="SGLang has nothing that drafts as medusa does"):
        Drafting("medusa", None).refuse(("transformers", "sglang"))
    Drafting("medusa", None).refuse(("transformers", "vllm"))


def test_a_plan_chooses_for_one_request_at_a_time(folder, tmp_path):
    choices = (
        Choice(8, 0.0, "plain"),
        Choice(1, 0.0, "draft-model:depth=4", draft="house:draft", policy=None, speedup={"median": 2.0}),
    )
    Plan("0", {"name": str(folder)}, {"processor": "p"}, "latency", choices, {}).save(tmp_path)
    assert chosen(tmp_path, str(folder))[0] is None
    (tmp_path / "certificate.json").write_text(json.dumps({"checks": []}))
    proof, choice = chosen(tmp_path, str(folder / ".." / folder.name))
    assert proof == tmp_path / "certificate.json"
    assert (choice["batch"], choice["method"]) == (1, "draft-model:depth=4")
    assert Drafting.of(None, None, choice, False) == Drafting("draft-model:depth=4", "house:draft")
    assert Drafting.of("prompt-lookup", None, choice, False) == Drafting("prompt-lookup", None)
    with pytest.raises(
        BadInput, match=r"was made for .*target, not for house:draft; tune house:draft, or leave --plan"
    ):
        chosen(tmp_path, "house:draft")
    with pytest.raises(BadInput, match="there is no plan at"):
        chosen(tmp_path / "nowhere", "house:draft")
