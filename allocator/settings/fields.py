"""What every section of `book.toml` shares: unknown keys are refused, and the type of a number says its unit."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""A weight, share or probability from 0 to 1; 12 % is 0.12."""
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]
"""A coefficient or a limit of either sign."""
BasisPoints = Annotated[float, Field(ge=0, le=5000, allow_inf_nan=False)]
"""Hundredths of a percent; 10 bps of 1000 USD is 1 USD."""
FIRST_DAY, LAST_DAY = dt.date(1900, 1, 1), dt.date(2999, 12, 31)


def _within_calendar(day: dt.date) -> dt.date:
    if not FIRST_DAY <= day <= LAST_DAY:
        raise ValueError(f"{day} must lie from {FIRST_DAY} to {LAST_DAY}; correct the year")
    return day


Day = Annotated[dt.date, AfterValidator(_within_calendar)]
"""A date that leaves room for the decades we look ahead; one beyond it is a slip of the pen."""
ISO_DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"


def _named_day(key: str) -> str:
    try:
        day = dt.date.fromisoformat(key if re.fullmatch(ISO_DAY, key) else "")
    except ValueError:
        raise ValueError("must be a day such as 2026-11-20; correct the key") from None
    return _within_calendar(day).isoformat()


DayKey = Annotated[str, Field(pattern=rf"^{ISO_DAY}$"), BeforeValidator(_named_day)]
"""A key that is a day."""


class SettingsSection(BaseModel):
    """A frozen section: no unknown key, no text where a number belongs."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)
