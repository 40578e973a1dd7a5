"""The `[robust]` section of `book.toml`: what we guard against."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from allocator.book.section import Fraction, NonNegative, Section


class RobustSection(Section):
    """Which probabilities we guard against, and by how much the scenario returns may be wrong."""

    set: Literal["none", "total_variation", "box", "kl", "worst"] = Field(
        default="none",
        description="none: the stated probabilities; total_variation: within radius in half the L1 distance; "
        "box: each within radius; kl: relative entropy within radius; worst: any probabilities at all",
    )
    radius: NonNegative = Field(
        default=0.0, description="how far the set reaches; only for total_variation, box and kl"
    )

    schedule: Literal["fixed", "caution", "corners"] = Field(
        default="fixed",
        description="fixed: radius as stated; caution: caution x (1 - the likelier answer's probability), and "
        "nothing once the question is settled, for kl twice its square; corners: as far as [question.ranges] reach",
    )
    caution: Fraction | None = Field(default=None, description="how much of the way to being wrong we guard against")
    return_error: Literal["none", "box", "ellipsoid"] = Field(
        default="none",
        description="scenario returns may be wrong: box: each name's alone; ellipsoid: all together, in the metric of "
        "the covariance",
    )
    return_error_size: NonNegative = Field(
        default=0.0, le=10, description="by how much, in standard deviations over the horizon"
    )

    @model_validator(mode="after")
    def _radius_fits_the_set(self) -> RobustSection:
        if (self.schedule == "caution") != (self.caution is not None):
            raise ValueError("caution and schedule = 'caution' go together; state both or neither")
        if self.schedule != "fixed" and (self.radius != 0 or self.set in ("none", "worst")):
            raise ValueError(
                f"schedule = '{self.schedule}' makes the radius of a total_variation, box or kl set; "
                "remove radius, or choose such a set"
            )
        if self.set in ("total_variation", "box") and self.radius > 1:
            raise ValueError(f"radius = {self.radius:g} of a '{self.set}' set must lie in [0, 1]; lower it")
        if self.set in ("none", "worst") and self.radius != 0:
            raise ValueError(
                f"radius = {self.radius:g} has no meaning with set = '{self.set}'; remove it or set it to 0"
            )
        if self.set == "kl" and 0 < self.radius < 1e-6:
            raise ValueError(
                f"radius = {self.radius:g} of a 'kl' set is too small to be told from 0; "
                "set it to 0, or to at least 0.000001"
            )
        if self.set == "kl" and self.radius > 50:
            raise ValueError(f"radius = {self.radius:g} is beyond any probability; use set = 'worst'")
        return self

    @model_validator(mode="after")
    def _size_fits_the_error(self) -> RobustSection:
        if self.return_error == "none" and self.return_error_size > 0:
            raise ValueError(
                f"return_error_size = {self.return_error_size:g} has no meaning with return_error = 'none'; "
                "remove it, or choose return_error = 'box' or 'ellipsoid'"
            )
        if self.return_error != "none" and self.return_error_size == 0:
            raise ValueError(
                f"return_error = '{self.return_error}' needs a return_error_size above 0; "
                "write for example return_error_size = 0.2, or remove return_error"
            )
        return self
