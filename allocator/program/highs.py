"""HiGHS in a process that is not ours alone."""

from __future__ import annotations

import highspy


def run(solver: highspy.Highs) -> None:
    """Run; where the process has started HiGHS with more threads than one, on those.

    The first who runs HiGHS in a process settles its threads for all: it then refuses another number before it has
    looked at the model. A host may have been first, or our own search for whole lots.
    """
    if solver.run() == highspy.HighsStatus.kError and solver.getModelStatus() == highspy.HighsModelStatus.kNotset:
        solver.setOptionValue("threads", 0)  # as many as there are
        solver.run()
