"""What this machine needs to speak to a cluster, beyond what caviar always has."""

from __future__ import annotations

from caviar.errors import UsageError


def lacking(error: Exception) -> UsageError:
    """What to say where a package of the extra ``cluster`` is missing, as ``error`` tells."""
    return UsageError(
        'this machine lacks what speaks to a cluster: pip install "caviar-sweep[cluster]" '
        f"({' '.join(str(error).split())[:100]})"
    )
