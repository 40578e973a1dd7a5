"""Hold a table to its contract in `schemas/`: every error at once, with file, row, column and cure."""

from __future__ import annotations

from allocator.tables.schema import ContractOfBook as ContractOfBook
from allocator.tables.schema import contract_names as contract_names
from allocator.tables.schema import contract_text as contract_text
from allocator.tables.schema import read_contract as read_contract
from allocator.tables.validation import validate as validate
