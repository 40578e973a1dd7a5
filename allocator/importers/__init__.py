"""Exports of brokers, filings and holdings of funds in; rows of holdings.csv, and what is none of them, out."""

from __future__ import annotations

FORMATS = {
    "schwab": "Schwab positions",
    "fidelity": "Fidelity positions",
    "vanguard": "Vanguard positions",
    "ibkr-flex": "Interactive Brokers Flex query",
    "ibkr-activity": "Interactive Brokers activity statement",
    "sec-13f": "SEC 13F information table",
    "ishares": "iShares holdings",
    "ark": "ARK holdings",
    "generic": "table of positions",
}
"""What can be imported, by the name that `--format` has for it."""
