"""What OpenD's words mean, in English and in Chinese."""

from collections.abc import Callable

import pytest

from shared.opend_refusals import (
    is_logged_out,
    is_over_quota,
    is_too_often,
    is_unclear,
    is_unknown_stock,
)

Meaning = Callable[[str], bool]
MEANINGS: tuple[Meaning, ...] = (
    is_too_often,
    is_logged_out,
    is_unknown_stock,
    is_over_quota,
    is_unclear,
)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("This request is too frequent, at most 10 requests every 30 seconds", {is_too_often}),
        ("请求过于频繁", {is_too_often}),
        ("請求過於頻繁", {is_too_often}),
        ("OpenD is Not Logged In", {is_logged_out}),
        ("未登录", {is_logged_out}),
        ("Unknown stock 09997", {is_unknown_stock}),
        ("未知股票 09997", {is_unknown_stock}),
        ("The historical candlestick quota is used up", {is_over_quota}),
        ("历史K线额度不足", {is_over_quota}),
        ("Request timeout", {is_unclear}),
        ("网络断开", {is_unclear}),
        ("", {is_unclear}),
        ("Insufficient buying power", set[Meaning]()),
        ("The quantity is not a whole multiple of the lot size", set[Meaning]()),
    ],
)
def test_each_has_its_own_words(text: str, meant: set[Meaning]) -> None:
    assert {meaning for meaning in MEANINGS if meaning(text)} == meant
