"""The accounts that OpenD lists: only one of them is the one to trade in, and it is not the first of its kind."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.simulators.opend.messages import Refused, trading

SIMULATE, REAL = 0, 1
HK, US = 1, 2
STOCK, OPTION, STOCK_AND_OPTION = 1, 2, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TradingAccount:
    """One row of the list."""

    account_id: int
    environment: int
    markets: tuple[int, ...]
    simulated_kind: int | None = None
    """`Trd_Common.SimAccType`; None for a real one."""
    cash: float = 1_000_000.0
    """What is shown of an account that nobody trades in here."""
    held: Mapping[str, int] | None = None

    def message(self) -> Any:
        """Return it as OpenD lists it."""
        listed = trading.TrdAcc(
            trdEnv=self.environment,
            accID=self.account_id,
            trdMarketAuthList=self.markets,
            accType=1 if self.simulated_kind is not None else 2,
            accStatus=0,
        )
        if self.simulated_kind is not None:
            listed.simAccType = self.simulated_kind
        else:
            listed.cardNum, listed.uniCardNum = "1001100012345678", "1001100087654321"
            listed.securityFirm = 1
        return listed


PAPER = TradingAccount(
    account_id=9_859_431, environment=SIMULATE, markets=(HK,), simulated_kind=STOCK
)
"""The one with the paper exchange behind it."""
OPTIONS = TradingAccount(
    account_id=9_859_427, environment=SIMULATE, markets=(HK,), simulated_kind=OPTION
)
AMERICAN = TradingAccount(
    account_id=9_859_430,
    environment=SIMULATE,
    markets=(US,),
    simulated_kind=STOCK_AND_OPTION,
    held={"AAPL": 10},
)
LIVE = TradingAccount(
    account_id=281_756_479_345_015_383,
    environment=REAL,
    markets=(HK, US),
    cash=250_000.0,
    held={"00700": 300},
)
"""Somebody's real money."""
ACCOUNTS = (AMERICAN, OPTIONS, LIVE, PAPER)


def account_of(header: Any) -> TradingAccount:
    """Return the account that a request names; its environment and market have to be the account's own."""
    for account in ACCOUNTS:
        if account.account_id == header.accID:
            if account.environment != header.trdEnv:
                raise Refused("The trading environment does not match the account")
            if header.trdMarket not in account.markets:
                raise Refused("The account has no authority for this market")
            return account
    raise Refused(f"Nonexisting acc_id {header.accID}")
