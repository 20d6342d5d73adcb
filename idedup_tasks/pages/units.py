"""Bytes and seconds as people read them: on pages, in the terminal, in messages."""

from __future__ import annotations


def human_bytes(value: float) -> str:
    """Bytes in decimal units, three digits: `12.3 MB`."""
    size = float(value)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.0f} PB"


def human_seconds(value: float | None) -> str:
    """Seconds as people say them: `4.2 s`, `3 min 20 s`, `2 h 5 min`."""
    if value is None:
        return "–"
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    return f"{minutes // 60} h {minutes % 60} min"
