"""What may vary: params, the scales on which they are sampled, and the space that they make."""

from caviar.space.mapping import Space
from caviar.space.narrowed import NarrowedSpace
from caviar.space.parameters import Choice, Constant, Float, Int, Parameter, Scalar

__all__ = ["Choice", "Constant", "Float", "Int", "NarrowedSpace", "Parameter", "Scalar", "Space"]
