"""The rules of panda mode, under their public name; `caviar.panda.rules` is where they live."""

from caviar.panda.rules import *  # noqa: F403
from caviar.panda.rules import __all__ as __all__
