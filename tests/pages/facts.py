"""Reports as the commands write them, small enough to be read."""

from copy import deepcopy
from typing import Any

SPREAD = {"median": 1.0, "low": 1.0, "high": 1.0}


def row(name: str, speed: tuple[float, float, float], **more: Any) -> dict[str, Any]:
    """A method of a race. speed: median, low, high."""
    median, low, high = speed
    return {
        "name": name,
        "exact": True,
        "promise": "tokens",
        "tokens_per_second": {"median": 40 * median, "low": 40 * low, "high": 40 * high},
        "speedup": {"median": median, "low": low, "high": high},
        "acceptance_length": 1.0,
        "acceptance_by_position": [],
        "seconds": {"draft": 0.0, "target": 3.0, "other": 1.0},
        "target_calls": 20,
        "distinct_4grams": 0.9,
        "identical": True,
        "differs": {"near_ties": 0, "unexplained": 0},
        "skipped": None,
        "tokens": 100,
        "prefill_seconds": 0.1,
        "ttft_seconds": 0.02,
        "total_tokens_per_second": SPREAD,
        "flag": None,
        "lost": None,
        "knobs": None,
        **more,
    }


def race(*rows: dict[str, Any]) -> dict[str, Any]:
    """Of these rows; without any, of a fast method, a slow one and a lossy one."""
    standard = (
        row("draft-model", (1.8, 1.6, 2.0), acceptance_length=3.1, acceptance_by_position=[0.9, 0.7, 0.5]),
        row("prompt-lookup", (1.1, 0.9, 1.3), acceptance_length=1.4, acceptance_by_position=[0.4]),
        row(
            "threshold",
            (2.5, 2.2, 2.8),
            promise=None,
            identical=False,
            lost={"agreement": 0.9, "nats": 0.1},
            knobs={"surprise": 3.0},
        ),
    )
    missing = dict.fromkeys(row("medusa", (1.0, 1.0, 1.0)))
    return {
        "machine": {"processor": "A processor", "cores": 2, "load": 0.1, "instruction_sets": ["avx2", "avx512f"]},
        "model": {"name": "house:target", "parameters": 5401856, "exact_note": "exact mode is off", "note": None},
        "settings": {
            **{"source": "p.txt", "draft": {"name": "house:draft", "dtype": "float32"}, "temperature": 0.0},
            **{"prompts": 4, "max_tokens": 48, "batch": 1, "seed": 0, "repeat": 3},
        },
        "methods": [
            row("plain", (1.0, 1.0, 1.0)),
            *(rows or standard),
            {**missing, "name": "medusa", "skipped": "it needs a head"},
        ],
        "finished": {"repeats": 3, "prompts": 4},
    }


def costs() -> dict[str, Any]:
    """One curve, and one that was left out."""
    points = [
        {
            "tokens": tokens,
            "ms": {"median": ms, "low": 0.9 * ms, "high": 1.2 * ms},
            "relative": ms / 4,
            "floor_fraction": 3 / ms,
        }
        for tokens, ms in ((1, 4.0), (4, 4.1), (16, 6.0))
    ]
    said = race()
    return {
        "machine": said["machine"],
        "model": said["model"],
        "settings": {"repeat": 3},
        "bandwidth_gb_s": 29.9,
        "bytes": {"weights": 9e7, "cached_token": 1536},
        "curves": [{"batch": 1, "context": 256, "floor_ms": 3.0, "points": points}],
        "skipped": [{"batch": 4, "context": 9000, "tokens": [1, 2], "reason": "the context holds 2048 tokens"}],
    }


EQUALITY: dict[str, Any] = {
    "name": "draft-model: the same tokens as plain decoding",
    "method": "draft-model",
    "holds": True,
    "prompts": 4,
    "statistic": None,
    "p_value": None,
    "power": None,
    "planted_fault_caught": True,
    "first_divergence": None,
    "identical": 4,
    "near_ties": 0,
    "unexplained": 0,
    "divergences": [],
    "tokens": 93,
    "planted_fault": {"what": "a verifier that keeps one guess more than it should", "drafter": "the method's own"},
}
LAW: dict[str, Any] = {
    "name": "draft-model: the same law as plain decoding",
    "method": "draft-model",
    "holds": True,
    "prompts": 2,
    "statistic": 13.84,
    "p_value": 0.345,
    "power": 0.999,
    "planted_fault_caught": True,
    "first_divergence": None,
    "freedom": 8,
    "samples": 2000,
    "doubt": 0.001,
    "planted_fault": {"what": "a wrong residual", "drafter": "the method's own", "total_variation": 0.04},
    "sites": [
        {
            "prompt": 1,
            "prompt_tokens": 17,
            "bins": 9,
            "trial": {"statistic": 13.84, "freedom": 8, "p_value": 0.0863, "effect": 0.1, "variation": 0.072},
            "planted_fault": None,
        }
    ],
}
PARTING: dict[str, Any] = {
    **{"prompt": 2, "position": 7, "plain": 33, "method": None},
    **{"margin": 0.8, "tolerance": 1e-4, "cause": "unexplained"},
}


def certificate(*checks: dict[str, Any]) -> dict[str, Any]:
    """Of these checks; without any, of one of each kind, both of which hold."""
    said, checks = race(), checks or (EQUALITY, LAW)
    return {
        "holds": all(check["holds"] for check in checks),
        **{name: said[name] for name in ("machine", "model", "settings")},
        "checks": deepcopy(list(checks)),
        "not_covered": ["Other machines.", "Whether the model's text is any good."],
    }


TEXTS: list[dict[str, Any]] = [
    {
        "prompt": "\nWhat is 3 + 6?\n",
        "tokens": [
            {"text": "The", "origin": "plain"},
            {"text": " answer", "origin": "drafted"},
            {"text": " is\n", "origin": "drafted"},
            {"text": "9", "origin": "corrected"},
            {"text": ".", "origin": "bonus"},
        ],
    }
]
PLAN: dict[str, Any] = {
    "choices": [
        {
            **{"batch": 1, "temperature": 0.0, "method": "draft-model:depth=4", "draft": "house:draft"},
            **{
                "verifier": None,
                "policy": None,
                "speedup": {"median": 1.8, "low": 1.6, "high": None},
                "why": "It won.",
            },
        },
        {
            **{"batch": 8, "temperature": 0.0, "method": "plain", "draft": None},
            **{"verifier": None, "policy": None, "speedup": None, "why": "Nothing is faster."},
        },
    ]
}


PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
IMAGES: list[dict[str, Any]] = [
    {
        "method": "real images",
        "png_base64": PNG,
        **dict.fromkeys(("forwards", "frechet_distance")),
        "class_accuracy": 1.0,
    },
    {"method": "plain", "png_base64": PNG, "forwards": 16.0, "frechet_distance": 1.5, "class_accuracy": 0.98},
    {"method": "dd2-1", "png_base64": PNG, "forwards": 1.0, "frechet_distance": 2.25, "class_accuracy": 0.97},
    {"method": "dd1-1", "png_base64": PNG, "forwards": 1.0, "frechet_distance": 3.0, "class_accuracy": 0.96},
]


def everything() -> dict[str, Any]:
    """Every part of a report."""
    ranking = [{"name": "plain", "speedup": {"median": 1.0, "low": None, "high": None}}]
    return {
        "race": race(),
        "costs": costs(),
        "plan": deepcopy(PLAN),
        "certificate": certificate(),
        "texts": deepcopy(TEXTS),
        "texts_method": "draft-model",
        "images": deepcopy(IMAGES),
        "predictions": [
            {"name": "draft-model", "predicted": 1.5, "measured": {"median": 2.0, "low": 1.8, "high": 2.2}},
            {"name": "eagle", "predicted": 0.8, "measured": None},
        ],
        "scenes": [
            {"batch": 1, "temperature": 0.0, "ranking": ranking},
            {"batch": 8, "temperature": 0.5, "ranking": ranking},
        ],
    }
