"""What OpenD's refusals mean: it has words, in English or Chinese, and no codes. Pure.

The words are those of the vendor's documentation and of reports; each is looked for in small letters.
"""

import re

_TOO_OFTEN = re.compile(r"too frequent|frequency limit|频率|頻率|频繁|頻繁")
_LOGGED_OUT = re.compile(r"not logged in|not login|log in first|login first|未登录|未登錄|未登入")
_UNKNOWN_STOCK = re.compile(r"unknown stock|未知股票")
_OVER_QUOTA = re.compile(r"quota|额度|額度|配额|配額")
_UNCLEAR = re.compile(
    r"timeout|timed out|time out|timed-out|no response|duplicate packet"
    r"|network|disconnect|connection|interrupt|internal error|unknown error"
    r"|system error|server error|server busy|system busy|try again"
    r"|超时|超時|网络|網絡|断开|斷開|重复|重複|未知错误|未知錯誤|稍后|稍後"
)


def is_too_often(text: str) -> bool:
    """Whether a limit on requests was passed: what was asked was not done."""
    return _found(_TOO_OFTEN, text)


def is_logged_out(text: str) -> bool:
    """Whether OpenD has no login at moomoo."""
    return _found(_LOGGED_OUT, text)


def is_unknown_stock(text: str) -> bool:
    """Whether there is no such stock."""
    return _found(_UNKNOWN_STOCK, text)


def is_over_quota(text: str) -> bool:
    """Whether the login's allowance of stocks with history is used up."""
    return _found(_OVER_QUOTA, text)


def is_unclear(text: str) -> bool:
    """Whether it is about OpenD's own way to moomoo's servers, where a request may have arrived all the same."""
    return not text or _found(_UNCLEAR, text)


def _found(words: re.Pattern[str], text: str) -> bool:
    return words.search(text.lower()) is not None
