"""Methods of models of images alone, and their loops; whatever decodes text decodes raster teachers too."""

from typing import Final

from decant.apps.catalog.rows import NEEDS_IMAGES, Part, Recipe, table

PAINTERS: Final = table(
    Part(
        "next-scale",
        "plain sampling of a teacher of images, a whole scale a step",
        "decoders.next_scale:NextScale",
        "Tian et al. 2024, arXiv:2404.02905",
        needs=NEEDS_IMAGES,
    ),
    Part(
        "marginal",
        "all places of an image at once, each by its law behind the class alone",
        "decoders.marginal:Marginal",
        "Liu et al. 2024, arXiv:2412.17153",
        needs=NEEDS_IMAGES,
    ),
    Part(
        "truncated-teacher",
        "the teacher for the first units of an image, the rest at once from its marginals",
        "decoders.truncated_teacher:TruncatedTeacher",
        "Liu et al. 2024, arXiv:2412.17153",
        needs=NEEDS_IMAGES,
    ),
    Part(
        "jump",
        "a student jumps from noise to the image that its teacher would make of it, in one pass or two",
        "decoders.jump:Jump",
        "Liu et al. 2024, arXiv:2412.17153",
        needs=NEEDS_IMAGES,
    ),
    Part(
        "assisted-jump",
        "a student jumps, its teacher settles a few units again, the student jumps on",
        "decoders.assisted_jump:AssistedJump",
        "Liu et al. 2024, arXiv:2412.17153",
        needs=NEEDS_IMAGES,
    ),
    Part(
        "one-pass",
        "a student says a vector for every place, in one pass",
        "decoders.one_pass:OnePass",
        "Liu et al. 2025, arXiv:2510.21003",
        needs=NEEDS_IMAGES,
    ),
    Part(
        "resampled-tail",
        "a student says the whole image, its teacher samples the last units anew",
        "decoders.resampled_tail:ResampledTail",
        "Liu et al. 2025, arXiv:2510.21003",
        needs=NEEDS_IMAGES,
    ),
)
PAINTING: Final = table(
    Recipe(
        "next-scale",
        "what plain means for models of images that draw whole scales: one a step",
        "Tian et al. 2024, arXiv:2404.02905",
        decoder="next-scale",
        needs=NEEDS_IMAGES,
    ),
    Recipe(
        "one-step-baseline",
        "all places of an image at once, blind to each other's chance: what one pass can do undistilled",
        "Liu et al. 2024, arXiv:2412.17153",
        decoder="marginal",
        needs=NEEDS_IMAGES,
    ),
    Recipe(
        "truncated-teacher",
        "the teacher for the first units of an image, the rest at once from its marginals",
        "Liu et al. 2024, arXiv:2412.17153",
        decoder="truncated-teacher",
        needs=NEEDS_IMAGES,
    ),
    Recipe(
        "dd1-1",
        "a student jumps from noise to the teacher's image in one pass (Distilled Decoding 1)",
        "Liu et al. 2024, arXiv:2412.17153",
        decoder="jump",
        needs=NEEDS_IMAGES,
        head="dd1",
    ),
    Recipe(
        "dd1-2",
        "the same in two passes: the second begins at the first units of what the first one said",
        "Liu et al. 2024, arXiv:2412.17153",
        decoder="jump",
        needs=NEEDS_IMAGES,
        head="dd1",
        knobs="calls=2",
    ),
    Recipe(
        "dd1-teacher",
        "the same, and in between the teacher settles units first ... last - 1",
        "Liu et al. 2024, arXiv:2412.17153",
        decoder="assisted-jump",
        needs=NEEDS_IMAGES,
        head="dd1",
    ),
    Recipe(
        "dd2-1",
        "a student that learned what its teacher finds likely says an image in one pass (Distilled Decoding 2)",
        "Liu et al. 2025, arXiv:2510.21003",
        decoder="one-pass",
        needs=NEEDS_IMAGES,
        head="dd2",
    ),
    Recipe(
        "dd2-teacher",
        "the same, then the teacher samples the last units anew",
        "Liu et al. 2025, arXiv:2510.21003",
        decoder="resampled-tail",
        needs=NEEDS_IMAGES,
        head="dd2",
    ),
)
