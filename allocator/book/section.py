"""What every section of `book.toml` shares: unknown keys are refused, and the type of a number says its unit."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""A weight, share or probability from 0 to 1; 12 % is 0.12."""
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
BasisPoints = Annotated[float, Field(ge=0, le=5000, allow_inf_nan=False)]
"""Hundredths of a percent; 10 bps of 1000 USD is 1 USD."""


class Section(BaseModel):
    """A frozen section: no unknown key, no text where a number belongs."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
