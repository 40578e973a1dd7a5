"""Hold a table to its contract in `schemas/`: every breach at once, with file, row, column and cure."""

from .holding import hold as hold
from .reading import contract_names as contract_names
from .reading import contract_text as contract_text
from .reading import read_contract as read_contract
