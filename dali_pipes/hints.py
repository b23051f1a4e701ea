"""Names for type hints."""

from typing import Any

Node = Any
"""A node of a DALI graph, or a number where DALI takes both. DALI's own hints are of one version, and three are
supported; formulas that serve numpy too take and give whatever does arithmetic."""
