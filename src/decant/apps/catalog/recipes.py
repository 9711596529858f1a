"""What `decant distill` teaches, and who teaches it."""

from typing import Final

from decant.apps.catalog.rows import NEEDS_DRAFT, NEEDS_IMAGES, NEEDS_LAYERS, NEEDS_MASKS, Part, table

HEAD: Final = "apps.heads:teach"
EXITS: Final = "apps.exits:teach"
ROUTER: Final = "apps.routing:teach"
STUDENT: Final = "apps.students:teach"
FILLER: Final = "apps.fillers:teach"
FILTER: Final = "apps.filters:teach"
IMITATOR: Final = "apps.imitating:teach"
SCORER: Final = "apps.scoring:teach"
ALONE: Final = frozenset({FILLER})
"""Runners for which no other model teaches."""
DREAMING: Final = frozenset({IMITATOR, SCORER})
"""Runners that need no data: the teacher makes its own."""

RECIPES: Final = table(
    Part(
        "medusa",
        "heads on the last state, each guessing one place further",
        "distill.heads.medusa:Medusa",
        "Cai et al. 2024, arXiv:2401.10774",
        by=HEAD,
    ),
    Part(
        "eagle",
        "one layer that guesses the next state, token after token",
        "distill.heads.eagle:Eagle",
        "Li et al. 2024, arXiv:2401.15077; Zhang et al. 2024, arXiv:2408.15766",
        by=HEAD,
    ),
    Part(
        "eagle3",
        "one layer over states of three depths, taught on what it feeds itself",
        "distill.heads.eagle3:Eagle3",
        "Li et al. 2025, arXiv:2503.01840",
        by=HEAD,
    ),
    Part(
        "glide",
        "a draft model that learns to use glimpses of the target's states",
        "distill.heads.glide:Glide",
        "Du et al. 2024, arXiv:2402.02082; Li et al. 2025, arXiv:2503.01840",
        by=HEAD,
    ),
    Part(
        "fspad",
        "EAGLE's layer, states sampled with the token that was drawn, logits from a branch",
        "distill.heads.fspad:Fspad",
        "Gui et al. 2024, arXiv:2408.15562",
        by=HEAD,
    ),
    Part(
        "falcon",
        "an LSTM and one layer that guess a block of states at a time, taught by glances at the answer",
        "distill.heads.falcon:Falcon",
        "Gao et al. 2024, arXiv:2412.12639; Qian et al. 2020, arXiv:2008.07905",
        by=HEAD,
    ),
    Part(
        "chimera",
        "one layer that fuses the last three tokens with the target's states of all before",
        "distill.heads.chimera:Chimera",
        "Zeng et al. 2024, arXiv:2402.15758",
        by=HEAD,
    ),
    Part(
        "ppd",
        "prompt tokens: a few embeddings that stand for tokens to come",
        "distill.heads.ppd:Ppd",
        "Chen et al. 2024, arXiv:2405.18628",
        by=HEAD,
    ),
    Part(
        "hidden-transfer",
        "matrices that make states of tokens to come out of a middle layer's",
        "distill.heads.hidden_transfer:HiddenTransfer",
        "Wu et al. 2024, arXiv:2404.12022",
        by=HEAD,
    ),
    Part(
        "layerskip",
        "a whole model whose layers speak before the last, the deeper the more; layers are skipped as it learns",
        "distill.early_exit:LayerSkip",
        "Elhoushi et al. 2024, arXiv:2404.16710",
        needs=NEEDS_LAYERS,
        by=EXITS,
    ),
    Part(
        "sorted",
        "a whole model that speaks at a few nested exits, all alike",
        "distill.early_exit:Sorted",
        "Kavehzadeh et al. 2024, arXiv:2407.01955",
        needs=NEEDS_LAYERS,
        by=EXITS,
    ),
    Part(
        "router",
        "a small network that tells where a draft model's token would lead elsewhere (for r2r)",
        "distill.routing:Router",
        "Fu et al. 2025, arXiv:2505.21600",
        needs=NEEDS_DRAFT,
        by=ROUTER,
    ),
    Part(
        "sft",
        "plain fine-tuning on the data's answers: what a teacher has to beat",
        "recipes.sft:SFT",
        'Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training"',
        by=STUDENT,
    ),
    Part(
        "hinton",
        "softened laws of the teacher beside the text's own tokens",
        "recipes.hinton:Hinton",
        "Hinton et al. 2015, arXiv:1503.02531",
        by=STUDENT,
    ),
    Part(
        "plain_kd",
        "the same in one flat loop: to read first, and to hold the others to",
        "recipes.plain_kd:PlainKD",
        "Hinton et al. 2015, arXiv:1503.02531",
        by=STUDENT,
    ),
    Part(
        "seqkd",
        "the teacher's own answers as if they were data",
        "recipes.seqkd:SeqKD",
        "Kim & Rush 2016, arXiv:1606.07947",
        by=STUDENT,
    ),
    Part(
        "gkd",
        "the teacher judges what the student says itself, token by token",
        "recipes.gkd:GKD",
        "Agarwal et al. 2024, arXiv:2306.13649",
        by=STUDENT,
    ),
    Part(
        "minillm",
        "reverse KL of whole answers, by policy gradient",
        "recipes.minillm:MiniLLM",
        "Gu et al. 2024, arXiv:2306.08543",
        by=STUDENT,
    ),
    Part(
        "distillm",
        "skew KL, and the student's answers as far as they are needed, used again",
        "recipes.distillm:DistiLLM",
        "Ko et al. 2024, arXiv:2402.03898",
        by=STUDENT,
    ),
    Part(
        "taid",
        "a target that moves from student to teacher at an adaptive pace",
        "recipes.taid:TAID",
        "Shing et al. 2025, arXiv:2501.16937",
        by=STUDENT,
    ),
    Part(
        "aligndistil",
        "a model aligned by DPO, pushed away from one aligned the other way round",
        "recipes.aligndistil:AlignDistil",
        "Zhang et al. 2025, arXiv:2503.02832",
        by=STUDENT,
    ),
    Part(
        "sinkd",
        "Sinkhorn's cost of carrying the student's laws to the teacher's",
        "recipes.sinkd:SinKD",
        "Cui et al. 2024, arXiv:2402.17110",
        by=STUDENT,
    ),
    Part(
        "pld",
        "one list-wise likelihood: the label first, then the teacher's order",
        "recipes.pld:PLD",
        "Bassam et al. 2025, arXiv:2506.12542",
        by=STUDENT,
    ),
    Part(
        "ddk",
        "more of the domains in which the student is behind",
        "recipes.ddk:DDK",
        "Liu et al. 2024, arXiv:2407.16154",
        by=STUDENT,
    ),
    Part(
        "minilm",
        "relations between queries, keys and values of a layer",
        "recipes.minilm:MiniLM",
        "Wang et al. 2021, arXiv:2012.15828",
        by=STUDENT,
    ),
    Part(
        "distillspec",
        "a draft learns the target's law on the draft's own answers",
        "recipes.distillspec:DistillSpec",
        "Zhou et al. 2024, arXiv:2310.08461",
        by=STUDENT,
    ),
    Part(
        "adaspec",
        "a draft learns the tokens that a copy of it could learn",
        "recipes.adaspec:AdaSPEC",
        "Hu et al. 2025, arXiv:2510.19779",
        by=STUDENT,
    ),
    Part(
        "fastdraft",
        "a draft learns the target's answers at several temperatures",
        "recipes.fastdraft:FastDraft",
        "Zafrir et al. 2024, arXiv:2411.11055",
        by=STUDENT,
    ),
    Part(
        "alm_transfer",
        "a student with another tokenizer: every stretch of text as likely as the teacher finds it",
        "recipes.alm_transfer:ALMTransfer",
        "Minixhofer et al. 2025, arXiv:2503.20083",
        by=STUDENT,
    ),
    Part(
        "mdlm",
        "a model that fills in masks: made of a causal one, or taught on",
        "distill.diffusion.mdlm:MDLM",
        "Sahoo et al. 2024, arXiv:2406.07524; Gong et al. 2024, arXiv:2410.17891",
        by=FILLER,
    ),
    Part(
        "dparallel",
        "a model that fills in masks learns to be certain where it is right, so that more places settle at once",
        "distill.diffusion.dparallel:DParallel",
        "Chen et al. 2025, arXiv:2509.26488",
        by=FILLER,
    ),
    Part(
        "learn2pd",
        "a small network that tells which guesses of a model that fills in masks will last",
        "distill.diffusion.learn2pd:Learn2PD",
        "Bao et al. 2025, arXiv:2509.25188",
        needs=NEEDS_MASKS,
        by=FILTER,
    ),
    Part(
        "dd1",
        "a student makes an image in one pass: it learns where noise flows under a teacher of images",
        "distill.images.dd1:DD1",
        "Liu et al. 2024, arXiv:2412.17153",
        needs=NEEDS_IMAGES,
        by=IMITATOR,
    ),
    Part(
        "dd2",
        "a student makes an image in one pass: it learns to make what a teacher of images finds likely",
        "distill.images.dd2:DD2",
        "Liu et al. 2025, arXiv:2510.21003",
        needs=NEEDS_IMAGES,
        by=SCORER,
    ),
)
