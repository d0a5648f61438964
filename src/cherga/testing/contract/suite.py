"""The themes, all in one class."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cherga.testing.contract.black_boxes import BlackBoxes
from cherga.testing.contract.cancelling import Cancelling, Retrying
from cherga.testing.contract.capping import Capping
from cherga.testing.contract.claiming import Claiming
from cherga.testing.contract.crowds import Crowds
from cherga.testing.contract.dependants import Dependants
from cherga.testing.contract.families import CancellingFamilies, Parenting
from cherga.testing.contract.following import Reporting
from cherga.testing.contract.groups import Grouping, Together
from cherga.testing.contract.harness import BrokerHarness
from cherga.testing.contract.histories import Histories
from cherga.testing.contract.inspecting import Inspecting
from cherga.testing.contract.keeping import KeptUnasked, ToldAlike
from cherga.testing.contract.limits import Limiting
from cherga.testing.contract.listening import ListeningToJobs
from cherga.testing.contract.lives import Lives
from cherga.testing.contract.malformed import Malformed
from cherga.testing.contract.noticing import Noticing
from cherga.testing.contract.ordering import Ordering
from cherga.testing.contract.pausing import Pausing, PausingArguments
from cherga.testing.contract.pruning import Pruning
from cherga.testing.contract.pushing import Pushing
from cherga.testing.contract.rates import Rating
from cherga.testing.contract.replacing import Replacing, Succeeding
from cherga.testing.contract.scheduling import Scheduling
from cherga.testing.contract.sessions import Deaths, Leases
from cherga.testing.contract.settling import Settling
from cherga.testing.contract.sharing import Declaring, Sharing, Ticking
from cherga.testing.contract.slots import Slots
from cherga.testing.contract.stage import Stage
from cherga.testing.contract.suspects import Losses, Suspects
from cherga.testing.contract.turns import TakingTurns
from cherga.testing.contract.uniqueness import Uniqueness
from cherga.testing.contract.waking import Waking


class BrokerContract(
    Pushing,
    Ordering,
    Scheduling,
    Uniqueness,
    Replacing,
    Succeeding,
    Dependants,
    Grouping,
    Together,
    Parenting,
    CancellingFamilies,
    Claiming,
    Settling,
    Cancelling,
    Retrying,
    Leases,
    Deaths,
    Suspects,
    Losses,
    BlackBoxes,
    Reporting,
    Waking,
    ListeningToJobs,
    Pausing,
    PausingArguments,
    Limiting,
    Slots,
    TakingTurns,
    Rating,
    Capping,
    Crowds,
    Pruning,
    KeptUnasked,
    ToldAlike,
    Noticing,
    Inspecting,
    Declaring,
    Sharing,
    Ticking,
    Malformed,
    Lives,
    Histories,
):
    """Every promise of ``cherga.doors.broker``. Subclass it and give a ``harness`` fixture."""

    @pytest.fixture
    def stage(self, harness: BrokerHarness) -> Iterator[Stage]:
        stage = Stage(harness)
        yield stage
        stage.close()
