import pytest

from shared.database.connection import Connection
from shared.database.orders import DuplicateOrder, order_by_client_id
from shared.errors import LockLost
from tests.fixtures.broker_orders import entry, intended, sender


async def test_the_token_grows_with_every_holder(trading_connection: Connection) -> None:
    tokens = [(await sender(trading_connection)).token for _ in range(3)]

    assert tokens == [1, 2, 3]


async def test_an_intent_of_an_earlier_holder_is_not_written(
    trading_connection: Connection,
) -> None:
    earlier = await sender(trading_connection)
    await sender(trading_connection)
    with pytest.raises(LockLost, match="token 1 was taken, 2 is the newest"):
        await intended(trading_connection, by=earlier)

    assert await order_by_client_id(trading_connection, entry().client_order_id) is None


async def test_agents_do_not_fence_each_other_off(trading_connection: Connection) -> None:
    ours = await sender(trading_connection)
    await sender(trading_connection, "somebody")
    record = await intended(trading_connection, by=ours)

    assert (record.sender_role, record.sender_token) == (ours.role, ours.token)


async def test_the_same_decision_is_found_before_a_new_row_is_made(
    trading_connection: Connection,
) -> None:
    ours = await sender(trading_connection)
    await intended(trading_connection, by=ours)
    with pytest.raises(DuplicateOrder):
        await intended(trading_connection, by=ours)
