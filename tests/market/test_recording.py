import gzip
import os
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from market.calendar import Calendar
from market.recording import Recording
from market.recording_files import BAR_COLUMNS, HEADLINE_COLUMNS
from shared.errors import CalendarExhausted, ConfigError
from shared.models import InstrumentKind, QuoteSource
from shared.ticks import ticks

MONDAY, TUESDAY = date(2026, 6, 15), date(2026, 6, 16)
HEADER = ",".join(BAR_COLUMNS)
INSTRUMENTS = """
exchange: XNYS
currency: USD
lot_size: 1
ticks: [{from_price: "0", tick: "0.0001"}, {from_price: "1", tick: "0.01"}]
instruments:
  QAAA: {name: A (invented), kind: stock}
  QIDX: {name: Index (invented), kind: index, tradable: false, reason: a number}
"""
SESSION = """
label: a test session
generated: false
halts:
  - {symbol: QAAA, start: 2026-06-15T13:33:00Z, end: 2026-06-15T13:35:00Z}
closures:
  - {start: 2026-06-15T13:40:00Z, end: 2026-06-15T20:00:00Z}
"""

Opener = Callable[[Path], Recording]


@pytest.fixture
def opened(new_york: Calendar) -> Opener:
    return lambda path: Recording.open(path, exchange="XNYS", currency="USD", calendar=new_york)


def at(minute: int, day: date = MONDAY) -> datetime:
    return datetime(day.year, day.month, day.day, 13, 30, tzinfo=UTC) + timedelta(minutes=minute)


def row(
    minute: int,
    close: str = "50.00",
    *,
    symbol: str = "QAAA",
    volume: int = 100,
    day: date = MONDAY,
) -> str:
    stamp = f"{at(minute, day):%Y-%m-%dT%H:%M:%SZ}"
    return f"{symbol},{stamp},50.00,{max(close, '50.00')},{min(close, '50.00')},{close},{volume}"


def folder_with(folder: Path, rows: Sequence[str], **others: str) -> Path:
    (folder / "bars.csv").write_text("\n".join([HEADER, *rows, ""]), encoding="utf-8")
    (folder / "instruments.yaml").write_text(INSTRUMENTS, encoding="utf-8")
    for name, text in others.items():
        suffix = "yaml" if name == "session" else "csv"
        (folder / f"{name}.{suffix}").write_text(text, encoding="utf-8")
    return folder


def test_a_quote_knows_only_bars_that_have_ended(tmp_path: Path, opened: Opener) -> None:
    recording = opened(folder_with(tmp_path, [row(0, "50.10"), row(1, "50.90")]))

    quote = recording.quote("QAAA", at(2) - timedelta(microseconds=1))

    assert quote is not None
    assert quote.last == Decimal("50.10")
    assert quote.at == at(1)


def test_there_is_no_quote_before_the_first_bar_has_ended(tmp_path: Path, opened: Opener) -> None:
    recording = opened(folder_with(tmp_path, [row(0)]))

    assert recording.quote("QAAA", at(1) - timedelta(microseconds=1)) is None
    assert recording.quote("QZZZ", at(5)) is None


def test_a_quote_is_modelled_and_carries_the_session_so_far(tmp_path: Path, opened: Opener) -> None:
    recording = opened(folder_with(tmp_path, [row(0, volume=100), row(1, "50.20", volume=250)]))

    quote = recording.quote("QAAA", at(2))

    assert quote is not None
    assert quote.source is QuoteSource.MODELLED
    assert (quote.session_open, quote.session_volume) == (Decimal("50.00"), 350)
    assert quote.bid is not None
    assert quote.ask is not None
    assert quote.bid < quote.ask
    assert quote.previous_close is None


def test_a_quote_grows_old_while_nothing_trades(tmp_path: Path, opened: Opener) -> None:
    recording = opened(folder_with(tmp_path, [row(0), row(9)]))

    quote = recording.quote("QAAA", at(8))

    assert quote is not None
    assert quote.at == at(1)


@pytest.mark.parametrize(
    ("minute", "halted"), [(2, False), (3, True), (4, True), (5, False)], ids=str
)
def test_a_halted_symbol_has_a_last_price_but_no_bid_or_ask(
    tmp_path: Path, opened: Opener, minute: int, halted: bool
) -> None:
    recording = opened(folder_with(tmp_path, [row(0)], session=SESSION))

    quote = recording.quote("QAAA", at(minute))

    assert quote is not None
    assert quote.halted is halted
    assert (quote.bid is None, quote.ask is None) == (halted, halted)
    assert quote.last == Decimal("50.00")


def test_an_index_has_no_bid_or_ask(tmp_path: Path, opened: Opener) -> None:
    recording = opened(folder_with(tmp_path, [row(0, symbol="QIDX", volume=0)]))

    quote = recording.quote("QIDX", at(1))

    assert quote is not None
    assert quote.bid is None
    assert recording.why_not_tradable("QIDX") == "a number"


def test_bars_lie_whole_within_the_window(tmp_path: Path, opened: Opener) -> None:
    recording = opened(folder_with(tmp_path, [row(minute) for minute in range(5)]))

    found = recording.bars("QAAA", at(1), at(4) - timedelta(seconds=1))

    assert [bar.start for bar in found] == [at(1), at(2)]
    assert recording.bars("QZZZ", at(0), at(5)) == ()


def test_the_second_session_starts_anew_and_has_the_first_as_its_baseline(
    tmp_path: Path, opened: Opener
) -> None:
    rows = [row(0, volume=700), row(1, "50.50", volume=300), row(0, "50.75", day=TUESDAY)]
    recording = opened(folder_with(tmp_path, rows))

    before_open = recording.quote("QAAA", at(-30, TUESDAY))
    quote = recording.quote("QAAA", at(1, TUESDAY))

    assert recording.sessions() == (MONDAY, TUESDAY)
    assert before_open is not None
    assert (before_open.session_open, before_open.session_volume) == (None, None)
    assert before_open.previous_close == Decimal("50.50")
    assert quote is not None
    assert (quote.session_volume, quote.previous_close) == (100, Decimal("50.50"))
    assert recording.average_daily_volume("QAAA", TUESDAY) == 1000
    assert recording.description.has_baseline is False
    assert recording.description_at(at(0, TUESDAY)).has_baseline is True


def test_a_missing_baseline_is_none(tmp_path: Path, opened: Opener) -> None:
    recording = opened(folder_with(tmp_path, [row(0)]))

    assert recording.previous_close("QAAA", MONDAY) is None
    assert recording.average_daily_volume("QAAA", MONDAY) is None
    assert recording.baseline("QAAA", MONDAY).previous_change_pct is None


def test_a_close_from_before_the_previous_session_is_not_taken_for_it(
    tmp_path: Path, opened: Opener
) -> None:
    recording = opened(folder_with(tmp_path, [row(0), row(0, day=date(2026, 6, 17))]))

    assert recording.previous_close("QAAA", date(2026, 6, 17)) is None


def test_daily_bars_are_the_baseline_of_the_first_session(tmp_path: Path, opened: Opener) -> None:
    daily = f"{HEADER}\nQAAA,2026-06-11T04:00:00Z,40,41,39,40,3000\nQAAA,2026-06-12T04:00:00Z,40,42,40,42,1000\n"

    baseline = opened(folder_with(tmp_path, [row(0)], daily=daily)).baseline("QAAA", MONDAY)

    assert baseline.previous_close == Decimal(42)
    assert baseline.previous_change_pct == Decimal(5)
    assert baseline.average_daily_volume == 2000


def test_headlines_are_found_by_symbol_and_time(tmp_path: Path, opened: Opener) -> None:
    lines = [
        ",".join(HEADLINE_COLUMNS),
        'b,2026-06-15T14:00:00Z,Wire,QAAA QBBB,-0.5,"Bad, says the wire"',
        "a,2026-06-15T13:00:00Z,Wire,QBBB,,Quiet",
    ]
    recording = opened(folder_with(tmp_path, [row(0)], headlines="\n".join(lines)))
    since, until = at(-120), at(30)

    assert [h.headline_id for h in recording.headlines(None, since, until)] == ["a", "b"]
    assert [h.headline_id for h in recording.headlines(["QAAA"], since, until)] == ["b"]
    assert recording.headlines(None, since, until)[1].sentiment == Decimal("-0.5")
    assert recording.headlines(None, at(31), at(99)) == ()
    assert recording.description.has_news


def test_a_symbol_that_no_file_describes_is_known_but_not_tradable(
    tmp_path: Path, opened: Opener
) -> None:
    recording = opened(folder_with(tmp_path, [row(0, symbol="QNEW")]))

    instrument = recording.instrument("QNEW")

    assert instrument is not None
    assert not instrument.tradable
    assert instrument.tick_at(Decimal(5)) == Decimal("0.01")
    assert recording.why_not_tradable("QNEW") == "instruments.yaml does not describe QNEW"
    assert recording.instrument("QZZZ") is None


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("QAAA,2026-06-15T13:31:00Z,50,49,48,50,1", "open and close must lie between"),
        ("QAAA,2026-06-15T13:31:00Z,50,51,50.5,50.6,1", "open and close must lie between"),
        ("QAAA,2026-06-15T13:30:00Z,50,50,50,50,1", "has two bars that begin at"),
        ("QAAA,2026-06-15T13:29:00Z,50,50,50,50,1", "goes back in time"),
        ("QAAA,2026-06-15T13:31:00Z,50,50,50,50,-1", "volume must be"),
        ("QAAA,2026-06-15T13:31:00Z,50,50,50,50,1.5", "volume must be"),
        ("QAAA,2026-06-15T13:31:00Z,NaN,50,50,50,1", "positive and finite"),
        ("QAAA,2026-06-15T13:31:00Z,50,Infinity,50,50,1", "positive and finite"),
        ("QAAA,2026-06-15T13:31:00Z,0,50,0,50,1", "positive and finite"),
        ("QAAA,2026-06-15T13:31:00Z,fifty,50,50,50,1", "must be a number"),
        ("QAAA,2026-06-15T13:31:00,50,50,50,50,1", "timezone-aware"),
        ("QAAA,2026-06-15T13:31:30Z,50,50,50,50,1", "full minute"),
        ("QAAA,yesterday,50,50,50,50,1", "yesterday"),
        ("QAAA,2026-06-15T13:31:00Z,50,50,50,50", "7 values"),
        (",2026-06-15T13:31:00Z,50,50,50,50,1", "7 values"),
    ],
)
def test_a_bad_row_is_an_error_that_names_file_and_line(
    tmp_path: Path, opened: Opener, bad: str, words: str
) -> None:
    folder = folder_with(tmp_path, [row(0), bad])

    with pytest.raises(ConfigError, match=words) as error:
        opened(folder)

    assert error.value.problems[0].where == f"{(folder / 'bars.csv').resolve()}:3"


def test_a_closure_begins_and_ends_as_written(tmp_path: Path, opened: Opener) -> None:
    recording = opened(folder_with(tmp_path, [row(0)], session=SESSION))
    moments = [at(10) - timedelta(microseconds=1), at(10), at(389), at(390)]

    assert [recording.is_closed(moment) for moment in moments] == [False, True, True, False]
    assert recording.session(at(10)) is not None


def test_every_bad_row_is_listed(tmp_path: Path, opened: Opener) -> None:
    folder = folder_with(tmp_path, [row(0, volume=-1), row(1), row(2, volume=-1)])

    with pytest.raises(ConfigError) as error:
        opened(folder)

    assert [problem.where.rsplit(":", 1)[1] for problem in error.value.problems] == ["2", "4"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("headlines", "id,timestamp\n"),
        ("headlines", ",".join(HEADLINE_COLUMNS) + "\na,2026-06-15T13:00:00Z,Wire,QBBB,2,Text\n"),
        ("headlines", ",".join(HEADLINE_COLUMNS) + "\na,2026-06-15T13:00:00Z,Wire,QBBB,,Te,xt\n"),
        ("headlines", ",".join(HEADLINE_COLUMNS) + "\na,soon\n"),
        ("session", "label: [unclosed"),
        ("session", "label: a\ngenerated: false\nhalt: []"),
        (
            "session",
            "label: a\ngenerated: false\nhalts: [{symbol: Q, start: 2026-06-15T13:00:00Z, "
            "end: 2026-06-15T13:00:00Z}]",
        ),
        (
            "session",
            "label: a\ngenerated: false\nclosures: [{start: 2026-06-15T13:01:00Z, "
            "end: 2026-06-15T13:00:00Z}]",
        ),
        ("daily", "a,b\n"),
    ],
    ids=str,
)
def test_a_bad_file_beside_the_bars_is_a_configuration_error(
    tmp_path: Path, opened: Opener, name: str, text: str
) -> None:
    with pytest.raises(ConfigError, match=name):
        opened(folder_with(tmp_path, [row(0)], **{name: text}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("exchange: XHKG", "describes XHKG"),
        ("currency: HKD", "in HKD"),
        ("lot_size: 0", "lot_size"),
        ('ticks: [{from_price: "1", tick: "0.01"}]', "must begin at 0"),
        ("ticks: []", "must begin at 0"),
    ],
)
def test_an_instrument_file_that_does_not_fit_is_a_configuration_error(
    tmp_path: Path, opened: Opener, change: str, words: str
) -> None:
    folder = folder_with(tmp_path, [row(0)])
    key = change.split(":", maxsplit=1)[0]
    lines = [change if line.startswith(key) else line for line in INSTRUMENTS.splitlines()]
    (folder / "instruments.yaml").write_text("\n".join(lines), encoding="utf-8")

    with pytest.raises(ConfigError, match=words):
        opened(folder)


def test_a_file_without_ticks_gets_those_of_the_exchange_on_the_first_day(
    tmp_path: Path, hong_kong: Calendar
) -> None:
    """Between the two phases of Hong Kong's reduction, the day before the second one."""
    (tmp_path / "bars.csv").write_text(
        f"{HEADER}\n0005,2026-07-31T01:30:00Z,9.50,9.50,9.50,9.50,400\n", encoding="utf-8"
    )
    (tmp_path / "instruments.yaml").write_text(
        "exchange: XHKG\ncurrency: HKD\nlot_size: 400\ninstruments:\n"
        '  "0005": {name: HSBC, kind: stock}\n'
        '  "2800": {name: Tracker Fund, kind: etf, ticks: [{from_price: "0", tick: "0.001"}]}\n',
        encoding="utf-8",
    )

    recording = Recording.open(tmp_path, exchange="XHKG", currency="HKD", calendar=hong_kong)
    share, fund = recording.instrument("0005"), recording.instrument("2800")

    assert share is not None
    assert fund is not None
    assert share.ticks == ticks("XHKG", date(2026, 7, 31)).bands
    assert share.tick_at(Decimal("9.50")) == Decimal("0.01")
    assert fund.tick_at(Decimal("9.50")) == Decimal("0.001")


def test_bars_without_a_single_bar_are_a_configuration_error(
    tmp_path: Path, opened: Opener
) -> None:
    with pytest.raises(ConfigError, match="no bar within trading hours"):
        opened(folder_with(tmp_path, []))


def test_bars_outside_trading_hours_are_left_out_and_counted(
    tmp_path: Path, opened: Opener
) -> None:
    recording = opened(folder_with(tmp_path, [row(-1), row(0), row(389), row(390)]))

    assert [bar.start for bar in recording.bars("QAAA", at(-99), at(999))] == [at(0), at(389)]
    assert recording.left_out == 2


def test_bars_on_a_day_without_a_session_are_an_error(tmp_path: Path, opened: Opener) -> None:
    with pytest.raises(ConfigError, match="2026-06-19, when XNYS has no session"):
        opened(folder_with(tmp_path, [row(0, day=date(2026, 6, 19))]))


def test_bars_beyond_the_calendar_are_an_error(tmp_path: Path, opened: Opener) -> None:
    with pytest.raises(CalendarExhausted, match="2028-06-15"):
        opened(folder_with(tmp_path, [row(0, day=date(2028, 6, 15))]))


@pytest.mark.parametrize("content", [b"", b"symbol,time\n", b"\xff\xfe\x00"], ids=str)
def test_a_file_without_the_columns_is_an_error(
    tmp_path: Path, opened: Opener, content: bytes
) -> None:
    path = tmp_path / "bars.csv"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=r"bars\.csv"):
        opened(path)


def test_a_recording_without_a_single_bar_is_an_error(tmp_path: Path, opened: Opener) -> None:
    with pytest.raises(ConfigError, match="no bar within trading hours"):
        opened(folder_with(tmp_path, []))


def test_a_damaged_archive_is_an_error(tmp_path: Path, opened: Opener) -> None:
    path = tmp_path / "bars.csv.gz"
    path.write_bytes(gzip.compress(HEADER.encode())[:-12])

    with pytest.raises(ConfigError, match="damaged"):
        opened(path)


def test_nothing_at_the_path_is_an_error(tmp_path: Path, opened: Opener) -> None:
    with pytest.raises(ConfigError, match="there are no bars at"):
        opened(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="there are no bars at"):
        opened(tmp_path)


def test_a_single_archive_uses_the_instruments_beside_it(tmp_path: Path, opened: Opener) -> None:
    path = tmp_path / "some.csv.gz"
    path.write_bytes(gzip.compress(f"{HEADER}\n{row(0)}\n".encode()))
    default = opened(path).instrument("QAAA")
    (tmp_path / "some.instruments.yaml").write_text(INSTRUMENTS, encoding="utf-8")

    beside = opened(path).instrument("QAAA")

    assert default is not None
    assert beside is not None
    assert (default.tradable, beside.tradable) == (False, True)


def test_an_unchanged_file_is_parsed_once_and_a_changed_one_again(
    tmp_path: Path, opened: Opener
) -> None:
    folder = folder_with(tmp_path, [row(0)])
    first, again = (opened(folder).bars("QAAA", at(0), at(9)) for _ in range(2))
    folder_with(tmp_path, [row(0), row(1)])
    os.utime(folder / "bars.csv", ns=(1, 1))

    changed = opened(folder).bars("QAAA", at(0), at(9))

    assert first[0] is again[0]
    assert len(changed) == 2


def test_real_bars_of_three_sessions_can_be_played(market_data: Path, opened: Opener) -> None:
    recording = opened(market_data / "us_1m_2019-02-11_13.csv.gz")
    noon = datetime(2019, 2, 12, 17, 0, tzinfo=UTC)

    assert recording.sessions() == (date(2019, 2, 11), date(2019, 2, 12), date(2019, 2, 13))
    assert recording.left_out == 0
    assert len(recording.symbols()) == 24
    assert recording.label == "recorded bars of 2019-02-11 to 2019-02-13, 3 sessions"
    for symbol in recording.symbols():
        quote, instrument = recording.quote(symbol, noon), recording.instrument(symbol)
        assert quote is not None
        assert instrument is not None
        assert instrument.tradable is (symbol not in {"VIX", "VXXB"})
        if instrument.kind is not InstrumentKind.INDEX:
            assert quote.bid is not None
            assert quote.ask is not None
            assert quote.ask - quote.bid < Decimal("0.02") * quote.ask


def test_real_thin_symbols_have_old_quotes(market_data: Path, opened: Opener) -> None:
    recording = opened(market_data / "us_1m_2019-02-11_13.csv.gz")
    opens = datetime(2019, 2, 12, 15, 0, tzinfo=UTC)

    ages = [
        moment - quote.at
        for minute in range(300)
        if (quote := recording.quote("PPLT", moment := opens + timedelta(minutes=minute)))
    ]

    assert max(ages) > timedelta(minutes=5)
