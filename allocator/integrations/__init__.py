"""Our optimizer inside other people's pipelines, one thin file a peer.

Each file needs its peer, which is imported only there: `from allocator.integrations.skfolio import RobustAllocation`.
What all of them must agree on (labels, signs, cash) is translated in `host.py`, and only there.
"""

from __future__ import annotations
