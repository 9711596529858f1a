"""What every part must obey, ours and yours: functions that raise AssertionError.

A law that rests on chance has fixed seeds, so it answers the same every time; `testing.chi_square` states its power.
"""

from decant.testing.laws.constraint import check_constraint
from decant.testing.laws.continuous import check_continuous
from decant.testing.laws.decoder import check_decoder, check_law
from decant.testing.laws.drafter import check_drafter
from decant.testing.laws.filling import check_filling
from decant.testing.laws.growth import check_growth
from decant.testing.laws.model import check_model
from decant.testing.laws.noise import check_noise
from decant.testing.laws.policy import check_policy
from decant.testing.laws.verifier import check_verifier
from decant.testing.laws.warp import check_warp

__all__ = [
    "check_constraint",
    "check_continuous",
    "check_decoder",
    "check_drafter",
    "check_filling",
    "check_growth",
    "check_law",
    "check_model",
    "check_noise",
    "check_policy",
    "check_verifier",
    "check_warp",
]
