"""What an outlook says as a pandas object, under the labels of its book."""

from __future__ import annotations

import numpy as np
import pandas as pd

from allocator.book.book import Book
from allocator.outlook.outlook import Outlook


def returns_frame(book: Book, outlook: Outlook) -> pd.DataFrame:
    """(N + 1, K) simple returns over the horizon: instruments and, last, cash down, scenarios across.

    It is of the contract of `scenario_returns.csv`, so it can be a table of another book.
    """
    everyone = pd.Index([*book.instruments, book.cash_instrument], name="instrument")
    returns = np.column_stack([outlook.returns, outlook.cash_returns]).T
    return pd.DataFrame(returns, index=everyone, columns=list(outlook.scenarios))
