"""Market data: the feed protocol, recorded feeds, calendars, spread model and scanner; knows no broker."""
