"""What must hold on an accelerator too; needs neither the network nor any data. `make gpu` runs these."""

from pathlib import Path

import pytest
import torch

from decant.apps.compose import compose, plain
from decant.decoders.generate import generate, right_pad
from decant.decoders.stopping import Stopping
from decant.models.load import load
from decant.noise import Noise
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.types import PAD, Draft
from tests.models.families import VOCAB, build

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
HOUSE = Path(__file__).parents[2] / "src" / "decant" / "house" / "target" / "model.safetensors"


def test_noise_is_the_same_on_every_device():
    depth_BX = torch.arange(64).expand(3, 64)
    here = Noise.of([1, 2, 2**63]).uniform(depth_BX, "accept", 7)
    there = Noise.of([1, 2, 2**63], "cuda").uniform(depth_BX.cuda(), "accept", 7)
    assert torch.equal(here, there.cpu())


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3", "gpt2", "deepseek-v3"])
def test_a_tree_scores_what_the_cpu_scores(family, tmp_path):
    build(family).save_pretrained(tmp_path)
    prompt_BT = torch.randint(3, VOCAB, (2, 12), generator=torch.Generator().manual_seed(0))
    prompt_BT[1, 7:] = PAD
    tokens_BN = torch.randint(3, VOCAB, (2, 5), generator=torch.Generator().manual_seed(1))
    parents_BN = torch.tensor([[-1, -1, 0, 0, 2]] * 2)
    logits = []
    for device in ("cpu", "cuda"):
        model = load(str(tmp_path), device=device, dtype="float32", exact="off").model
        with torch.inference_mode():
            context, _ = model.start(prompt_BT.to(device))
            logits.append(model.score(context, Draft(tokens_BN.to(device), parents_BN.to(device))).logits_BMV.cpu())
    torch.testing.assert_close(logits[1], logits[0], rtol=0, atol=5e-3)  # TF32 may be on


@pytest.mark.skipif(not HOUSE.exists(), reason="the house models are not built")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("warp", [greedy(), temperature(1.0)], ids=["greedy", "sampled"])
@pytest.mark.parametrize("method", ["draft-model", "prompt-lookup"])
def test_chains_lose_nothing_in_exact_mode(method, warp, dtype):
    target, draft = (load(f"house:{name}", device="cuda", dtype=dtype, exact="on") for name in ("target", "draft"))
    prompts = [
        target.encode(text) for text in ("def area(width, height):", "import os\n\nclass Walk:", "for x in range(")
    ]
    said = [
        generate(made.decoder, right_pad(prompts, "cuda"), Noise.of([1, 2, 3], "cuda"), [Stopping(64)] * 3).outputs
        for made in (plain(target, warp), compose(method, target, draft, warp))
    ]
    assert [output.tokens for output in said[1]] == [output.tokens for output in said[0]]
