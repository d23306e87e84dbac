"""One agent's configuration: a YAML file, validated into frozen settings with every default visible here.

Unknown keys are errors. Secrets come from the environment or `.env` only and are never printed.
`shared.config_file` reads them; here is only their shape.
"""

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from shared.config_brokers import BrokerSettings
from shared.config_section import (
    Distance,
    Money,
    Pace,
    Percent,
    Rsi,
    Seconds,
    Section,
    VariableName,
)


class AgentSettings(Section):
    """Who runs."""

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,31}$")]
    """Name in every row and log line; must equal AGENT_ID where a real broker is used."""
    role: str = "trader"
    """Shown to Claude and in reports."""


class MarketSettings(Section):
    """Where it trades."""

    exchange: Literal["XNYS", "XHKG"]
    """ISO 10383 code of the exchange whose calendar and clock apply."""
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    """ISO 4217 code of the account."""
    indices: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Named lists of symbols that scan_market can be asked for; without a name it scans everything."""


class DatabaseSettings(Section):
    """Where it remembers."""

    kind: Literal["embedded", "url"]
    """`embedded` starts a PostgreSQL of its own and is for the rehearsal only."""
    trading_url_env: VariableName | None = None
    """Name of the variable that holds the trading database's URL."""
    research_url_env: VariableName | None = None
    """Name of the variable that holds the research database's URL."""
    command_timeout_seconds: Seconds = 10.0


class LimitSettings(Section):
    """What safety allows; each can only be stricter than the hard floor in rules/floors.py."""

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    """Currency of every amount below."""
    max_positions: Annotated[int, Field(ge=0)]
    """Positions open or on order at once."""
    max_position_value: Money
    """Largest value of one position, at the price to be paid."""
    min_risk_reward: Annotated[Decimal, Field(gt=0)] = Decimal("2.0")
    """Distance to the target divided by the distance to the stop."""
    price_collar_pct: Percent = Decimal("2.0")
    """How far a price may lie from the middle of bid and ask."""
    max_quote_age_seconds: Seconds = 60.0
    """Older quotes are not traded on."""
    max_spread_pct: Percent = Decimal("0.5")
    """Distance of bid and ask in percent of their middle."""
    max_stop_distance_pct: Percent = Decimal("5.0")
    """How far below the entry a stop may be."""
    min_stop_ticks: Annotated[int, Field(ge=1)] = 2
    """How many ticks below the entry a stop has to be at least."""
    max_position_equity_pct: Percent = Decimal(20)
    """Largest value of one position as a share of equity."""
    max_gross_exposure_pct: Percent = Decimal(100)
    """Everything held and on order, whoever bought it, as a share of equity."""
    max_trade_risk_pct: Percent = Decimal("1.0")
    """Loss of one trade at its stop, as a share of equity."""
    daily_loss_limit: Money
    """Loss since the session's first equity, realised and not, at which everything is closed."""
    daily_loss_warning_pct: Percent = Decimal("1.5")
    """Loss as a share of the session's first equity from which on Claude and a person are warned."""
    max_trades_per_day: Annotated[int, Field(ge=0)] = 20
    """Entries per session, counted in the database."""
    max_trades_per_symbol_per_day: Annotated[int, Field(ge=0)] = 3
    """Entries per session in one symbol."""
    cooldown_minutes_after_loss: Annotated[int, Field(ge=0)] = 60
    """How long a symbol that was left at a loss is not bought again."""
    no_entry_minutes_after_open: Annotated[int, Field(ge=0)] = 5
    """No entries in the first minutes of each part of a session."""
    no_entry_minutes_before_close: Annotated[int, Field(ge=0)] = 20
    """No entries in the last minutes of each part of a session: before lunch and before the close."""
    max_clock_drift_seconds: Seconds = 2.0
    """How far the broker's clock may differ from this machine's; beyond it nothing is bought."""


class OrderSettings(Section):
    """How orders live at the broker, and what is made sure about them."""

    entry_lifetime_minutes: Annotated[int, Field(ge=1, le=390)] = 15
    """An entry that has not filled by then is cancelled, by the first run after it."""
    unprotected_alarm_seconds: Annotated[float, Field(ge=0, le=3600)] = 30.0
    """Shares that had no stop in force for longer are a critical alert; all such times are recorded."""
    cancel_confirm_seconds: Annotated[float, Field(ge=1, le=60)] = 10.0
    """How long a run waits for the broker to confirm a cancel before it alerts."""
    read_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    """How often a read from the broker is tried; a write is sent once."""
    read_timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 15.0
    """What all attempts of one read may take together."""


class ReconciliationSettings(Section):
    """How broker and database are compared before a session."""

    look_again_seconds: Annotated[float, Field(ge=10, le=120)] = 10.0
    """What differs, or is younger than this, is read again after as long before it counts."""
    overnight_gap_pct: Annotated[Decimal, Field(gt=0, le=100)] = Decimal("5.0")
    """A held symbol that moved this far since it was last seen is locked until a person has looked."""


class SignalSettings(Section):
    """From where on a signal about an open position is given; what each means stands in shared/watch.py."""

    stop_loss_pct: Annotated[Decimal, Field(ge=Decimal("0.1"), le=10)] = Decimal("3.0")
    """Loss at which a position is left, in percent of the entry."""
    stop_loss_near_pct: Distance = Decimal("2.0")
    """Loss that counts against a position."""
    stop_loss_weak_pct: Distance = Decimal("1.0")
    """Loss that counts a little."""
    trailing_stop_pct: Annotated[Decimal, Field(ge=Decimal("0.1"), le=10)] = Decimal("3.0")
    """How far the stop follows below the best price, and how many points of profit may be given back."""
    trailing_stop_from_pct: Distance = Decimal("2.0")
    """Best profit above which giving back counts."""
    take_profit_pct: Distance = Decimal("8.0")
    """Profit that is the target."""
    take_profit_moderate_pct: Distance = Decimal("5.0")
    """Profit at which taking it counts."""
    take_profit_weak_pct: Distance = Decimal("3.0")
    """Profit at which taking it counts a little."""
    healthy_profit_from_pct: Distance = Decimal("1.0")
    """Profit that speaks for holding, from here ..."""
    healthy_profit_to_pct: Distance = Decimal("5.0")
    """... to here."""
    rsi_overbought: Rsi = Decimal(85)
    """RSI at which a position is left."""
    rsi_high: Rsi = Decimal(75)
    """RSI that counts against a position."""
    rsi_weak: Rsi = Decimal(70)
    """RSI that counts a little."""
    rsi_momentum_dead: Rsi = Decimal(30)
    """RSI at or below which the rise is over."""
    rsi_healthy_from: Rsi = Decimal(40)
    """RSI that speaks for holding, from here ..."""
    rsi_healthy_to: Rsi = Decimal(65)
    """... to here."""
    volume_dying_pct: Pace = Decimal(25)
    """Volume for the time of day, in percent of its pace at the entry, at which a position is left."""
    volume_weak_pct: Pace = Decimal(40)
    """The same, where it counts against a position."""
    volume_dying_weak_pct: Pace = Decimal(60)
    """The same, where it counts a little."""
    volume_healthy_pct: Pace = Decimal(80)
    """The same, from where on it speaks for holding."""
    volume_strong_pct: Pace = Decimal(120)
    """The same, where it speaks strongly."""
    volume_window_minutes: Annotated[int, Field(ge=15, le=400)] = 60
    """Trading time whose volume is compared; a whole session's length compares all of it so far."""
    below_vwap_pct: Distance = Decimal("2.0")
    """How far below the session's VWAP counts against a position."""
    above_vwap_pct: Distance = Decimal("1.0")
    """How far above it speaks for holding."""
    below_ema20_pct: Distance = Decimal("1.0")
    """How far below the EMA of 20 bars counts against a position."""
    above_ema20_pct: Distance = Decimal("0.5")
    """How far above it speaks for holding."""
    time_stop_minutes: Annotated[int, Field(ge=1)] = 180
    """How long a position is held before that counts against it."""
    time_stop_near_minutes: Annotated[int, Field(ge=1)] = 120
    """How long before it counts a little."""
    minutes_to_close: Annotated[int, Field(ge=1, le=240)] = 10
    """Before the end of the session, early closes included, at which a position is left."""
    minutes_to_close_soon: Annotated[int, Field(ge=1, le=240)] = 30
    """Before that end, where it counts against a position."""
    minutes_to_lunch: Annotated[int, Field(ge=1, le=240)] = 10
    """Before the lunch break, where it counts against a position."""
    overnight_hours: Annotated[int, Field(ge=1)] = 24
    """How long a position is held before that speaks, weakly, for holding."""
    max_technicals_age_minutes: Annotated[int, Field(ge=5, le=120)] = 20
    """Indicators whose last bar ended earlier say nothing about the present."""
    max_quote_age_seconds: Annotated[float, Field(gt=0, le=300)] = 120.0
    """Older quotes are no price."""
    max_clock_skew_seconds: Annotated[float, Field(ge=0, le=60)] = 5.0
    """Quotes from further in the future are no price."""
    quote_agreement_pct: Annotated[Decimal, Field(gt=0, le=5)] = Decimal("0.5")
    """How far two readings may lie apart and still confirm each other."""
    quote_jump_factor: Annotated[Decimal, Field(ge=2, le=100)] = Decimal(10)
    """A price this many times the one before, or this part of it, is a fault of the data."""


class MonitorSettings(Section):
    """How open positions are watched between the runs."""

    check_seconds: Annotated[float, Field(ge=5, le=300)] = 60.0
    """Pause between two passes where stops rest at the broker."""
    check_seconds_without_stops: Annotated[float, Field(ge=5, le=60)] = 15.0
    """The same where they do not, and the monitor is the stop."""
    entries_need_a_check_within_seconds: Annotated[float, Field(ge=30, le=600)] | None = 60.0
    """Without a pass within this time nothing is bought; null buys unwatched."""
    silence_alarm_seconds: Annotated[float, Field(ge=60, le=3600)] = 150.0
    """A monitor that is silent for longer, in a session, is an alarm."""
    review_model: str = "claude-haiku-5-5"
    """Is asked where signals leave it open; must have prices in config/models.yaml."""
    review_every_minutes: Annotated[int, Field(ge=1, le=240)] = 15
    """At most so often for one position."""
    reviews_per_position: Annotated[int, Field(ge=0, le=100)] = 10
    """At most so many for one position."""
    review_timeout_seconds: Seconds = 30.0
    """An answer that takes longer is none: the position is held with its stop."""
    minutes_before_open: Annotated[int, Field(ge=1, le=60)] = 5
    """How long before a session the monitor starts, and how long after it the monitor ends."""


class ScheduleSettings(Section):
    """When each mode is due, measured from the session's own open and close, half days included."""

    startup_minutes_before_open: Annotated[int, Field(ge=1, le=300)] = 40
    """When broker and records are brought level, before the scan."""
    scan_minutes_before_open: Annotated[int, Field(ge=1, le=240)] = 30
    first_trade_minutes_after_open: Annotated[int, Field(ge=1, le=240)] = 30
    trade_every_minutes: Annotated[int, Field(ge=5, le=240)] = 30
    last_trade_minutes_before_close: Annotated[int, Field(ge=1, le=240)] = 30
    close_minutes_before_close: Annotated[int, Field(ge=1, le=240)] = 10
    heartbeat_minutes_after_close: Annotated[int, Field(ge=1, le=240)] = 30
    grace_minutes: Annotated[int, Field(ge=1, le=30)] = 5
    """A slot that starts later than this is missed, not run."""
    may_hold_over_lunch: bool = False
    """Whether the close before lunch leaves positions alone; their stops and targets rest on."""
    may_hold_overnight: bool = False
    """The same for the session's last close."""
    close_look_again_seconds: Annotated[float, Field(ge=1, le=120)] = 15.0
    """How long a close waits before it looks again at what is still held."""
    close_gives_up_seconds_before_end: Annotated[float, Field(ge=10, le=600)] = 60.0
    """How long before its part of the session ends a close stops waiting and tells a person."""


class ClaudeSettings(Section):
    """Which model decides, and what it may cost."""

    model: str = "claude-sonnet-5-5"
    """Must have prices in config/models.yaml."""
    max_output_tokens: Annotated[int, Field(ge=256, le=16000)] = 4096
    max_iterations: Annotated[int, Field(ge=2, le=50)] = 20
    """Replies per cycle."""
    cycle_deadline_seconds: Seconds = 240.0
    """No reply is asked for after this."""
    request_timeout_seconds: Seconds = 90.0
    daily_budget_usd: Money = Decimal("5.00")
    """Per exchange day; each call's worst case is reserved against it first."""
    budget_share_for_exits_pct: Percent = Decimal(20)
    """Share of the day's budget that entries leave untouched."""


class AlertSettings(Section):
    """How a person is told; addresses and passwords come from the environment only."""

    send: bool = True
    """Whether the outbox is worked off after a run; without, alerts stay queued."""
    max_per_run: Annotated[int, Field(ge=1, le=200)] = 20
    """Alerts sent after one run; critical ones go first."""
    total_seconds: Annotated[float, Field(gt=0, le=60)] = 10.0
    """What all sending after one run may take together."""
    retry_after_seconds: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """Pause after a first failure; each further one doubles it, up to an hour."""
    ping_timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 5.0
    """What the call to PING_URL may take."""


class LongestRuns(Section):
    """How long runs of single modes may hold the lock, where that is not what holds for all."""

    scan: Seconds | None = None
    trade: Seconds | None = None
    close: Seconds | None = 720.0
    """A close may work until its part of the session ends, and then has to write how it went."""
    heartbeat: Seconds | None = None
    flatten: Seconds | None = None
    """Positions sold by a person's command."""
    startup: Seconds | None = None
    """The startup monitor."""
    monitor: Seconds | None = 100.0
    """The position monitor, from one sign of life to the next."""


class LockSettings(Section):
    """How long a run may hold its agent's lock, and how it is made to let go."""

    longest_run_seconds: Seconds = 600.0
    """A run that holds the lock longer hangs: the next run ends it."""
    longest_run_seconds_by_mode: LongestRuns = LongestRuns()
    """The same for single modes."""
    expired_grace_seconds: Annotated[float, Field(ge=0, le=60)] = 5.0
    """What a run that hangs has to end by itself before it is killed."""
    preempt_grace_seconds: Annotated[float, Field(ge=0, le=120)] = 20.0
    """What a run has to end by itself when close mode needs the lock, before it is killed."""
    release_seconds: Annotated[float, Field(gt=0, le=60)] = 10.0
    """How long the locks of a run that has just ended are waited for."""

    def longest_seconds(self, mode: str) -> float:
        """Return how long a run of this mode may hold the lock."""
        of_mode: float | None = self.longest_run_seconds_by_mode.model_dump().get(mode)
        return self.longest_run_seconds if of_mode is None else of_mode


class CareSettings(Section):
    """What is kept and for how long, where backups go, and how an upgrade gets the agent to itself."""

    backup_directory: str = "backups"
    """Relative to the data directory; `~` is the home directory."""
    backups_kept: Annotated[int, Field(ge=1, le=1000)] = 7
    """After a backup was made and read back, all but this many of the agent are deleted."""
    transcripts_days: Annotated[int, Field(ge=1, le=3650)] = 90
    """What was said in a cycle is forgotten this long after its end; everything else about it is kept."""
    logs_days: Annotated[int, Field(ge=1, le=3650)] = 30
    """Rotated logs are deleted when they are older."""
    journals_days: Annotated[int, Field(ge=1, le=3650)] = 90
    """Journals that were taken over and set aside are deleted when they are older."""
    cron_log_max_bytes: Annotated[int, Field(ge=10_000)] = 5_000_000
    """A larger file of what cron's runs printed is cut down to its last half of this."""
    monitor_seconds: Annotated[float, Field(gt=0, le=600)] = 60.0
    """How long an upgrade waits for the position monitor to end between two passes; it is never killed."""
    longest_run_seconds: Annotated[float, Field(ge=60, le=86_400)] = 3600.0
    """How long care may hold the agent's lock before the next run takes it for hanging."""


class LoggingSettings(Section):
    """Where the log goes."""

    directory: str = "logs"
    """Relative to the project; `~` is the home directory."""
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    max_bytes: Annotated[int, Field(ge=10_000)] = 5_000_000
    """A file is rotated at this size."""
    keep_files: Annotated[int, Field(ge=1, le=100)] = 5


class RehearsalSettings(Section):
    """The session that is played when no broker is involved."""

    seed: Annotated[int, Field(ge=0)] = 7
    """The same seed gives the same session, bar for bar."""
    first_session: str = "2026-06-15"
    """Exchange date of the first generated session."""
    symbols: Annotated[int, Field(ge=5, le=200)] = 30


class Settings(Section):
    """Everything one agent's YAML file says."""

    agent: AgentSettings
    market: MarketSettings
    broker: BrokerSettings
    database: DatabaseSettings
    limits: LimitSettings
    orders: OrderSettings = OrderSettings()
    reconciliation: ReconciliationSettings = ReconciliationSettings()
    signals: SignalSettings = SignalSettings()
    monitor: MonitorSettings = MonitorSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    claude: ClaudeSettings = ClaudeSettings()
    alerts: AlertSettings = AlertSettings()
    locks: LockSettings = LockSettings()
    care: CareSettings = CareSettings()
    logging: LoggingSettings = LoggingSettings()
    rehearsal: RehearsalSettings | None = None
    """Present exactly when the broker is the paper exchange."""


class Secrets(Section):
    """What only the environment or `.env` may hold."""

    anthropic_api_key: SecretStr | None = None
    anthropic_base_url: SecretStr | None = None
    """Where Claude is reached, if not at the provider's own address; may hold a gateway's password."""
    alpaca_api_key: SecretStr | None = None
    alpaca_secret_key: SecretStr | None = None
    alpaca_simulator_url: str | None = None
    """A simulator on this machine that is asked instead of Alpaca, for orders and for data."""
    opend_address: tuple[str, int] | None = None
    """Host and port of OpenD, by file and environment together; None where the broker is another."""
    opend_key_file: str | None = None
    """Where the key is that encrypts what is said to it; None where nothing does."""
    opend_is_simulated: bool = False
    """Whether that is a simulator on this machine."""
    trading_database_url: SecretStr | None = None
    research_database_url: SecretStr | None = None
    smtp_host: str | None = None
    smtp_port: str | None = None
    smtp_tls: str | None = None
    smtp_user: str | None = None
    smtp_password: SecretStr | None = None
    smtp_from: str | None = None
    """Sender, where it is not SMTP_USER."""
    alert_email: str | None = None
    """The one address that mail goes to."""
    apprise_urls: SecretStr | None = None
    """Further channels, separated by blanks."""
    ping_url: SecretStr | None = None
    """Called after every run by whoever watches from outside."""


class Configuration(Section):
    """Settings, secrets, and where they came from."""

    settings: Settings
    secrets: Secrets
    source: Path
    config_hash: str
    """SHA-256 of the settings as canonical JSON; recorded with every cycle."""
