"""Who wins: which policies select a source, in which order it meets them, and which destinations each of them gets."""

from egress_compiler.classify.classified import Classified, classify
from egress_compiler.classify.orders import GovernedPod, GovernedSubnet, PolicyOrder
from egress_compiler.classify.outcomes import Loser, Loss, PolicyOutcome, Win, outcomes_of, wins_of
from egress_compiler.classify.region import Region

__all__ = [
    "Classified",
    "GovernedPod",
    "GovernedSubnet",
    "Loser",
    "Loss",
    "PolicyOrder",
    "PolicyOutcome",
    "Region",
    "Win",
    "classify",
    "outcomes_of",
    "wins_of",
]
