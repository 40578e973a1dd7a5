"""What `trading.min_gain_bps` costs, and what it spares: random books the day after their plan was carried out.

`python benchmarks/settled.py [books]` prints, for several bands, how many books trade nothing then and what they forgo.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.settled_books import next_day

BANDS = (0.0, 1.0, 2.0, 3.0, 5.0)


def main(books: int) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        found = [day for seed in range(books) if (day := next_day(seed, Path(folder, str(seed)))) is not None]
    print(f"{len(found)} books of {books} have a plan on both days")
    print("least gain    trade nothing    forgone, mean    forgone, most    (bps of the account)")
    for band in BANDS:
        quiet = sum(not day.orders or day.gain <= band for day in found) / len(found)
        forgone = [day.gain if day.orders and 0 < day.gain <= band else 0.0 for day in found]
        mean = sum(forgone) / len(found)
        print(f"{band:10.0f}    {quiet:13.1%}    {mean:13.2f}    {max(forgone):13.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
