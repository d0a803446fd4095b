"""Every mistake in a space is refused where it is made, in one line that says what is allowed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from caviar.errors import SpaceError
from caviar.space import Choice, Float, Int, Space


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Float(1, 1), "low must be below high"),
        (lambda: Float(2, 1), "Float(2.0, 1.0, scale='linear'): low must be below high"),
        (lambda: Float(0, 1, scale="log"), "a log scale needs low above 0"),
        (lambda: Float(-1, 1, scale="log"), "a log scale needs low above 0"),
        (lambda: Float(0, 0.9, scale="one_minus_log"), "above 0 and below 1"),
        (lambda: Float(0.9, 1, scale="one_minus_log"), "above 0 and below 1"),
        (lambda: Float(0.9, 2, scale="one_minus_log"), "above 0 and below 1"),
        (lambda: Float(0, 1, scale="logg"), "scale must be 'linear' or 'log' or 'one_minus_log'"),
        (lambda: Float(0, 1, scale=["log"]), "scale must be"),
        (lambda: Float(math.nan, 1), "low must be a finite number"),
        (lambda: Float(0, math.inf), "high must be a finite number"),
        (lambda: Float(0, 10**400), "high must be a finite number"),
        (lambda: Float(False, 1), "low must be a finite number"),
        (lambda: Float("0", 1), "Float('0', 1, scale='linear'): low must be a finite number"),
        (lambda: Float(0, None), "high must be a finite number"),
        (lambda: Float(-1.7e308, 1.7e308), "too far apart"),
        (lambda: Float(1e16, 1e16 + 2, scale="log"), "too close together"),
        (lambda: Int(0, 1.5), "high must be a whole number"),
        (lambda: Int(1.0, 2), "low must be a whole number"),
        (lambda: Int(True, 2), "low must be a whole number"),
        (lambda: Int(0, 2**40 + 1), "high must be a whole number within"),
        (lambda: Int(3, 3), "low must be below high"),
        (lambda: Int(0, 5, scale="log"), "a log scale needs low above 0"),
        (lambda: Int(1, 5, scale="one_minus_log"), "scale must be 'linear' or 'log'"),
        (lambda: Choice([]), "at least one value"),
        (lambda: Choice("abc"), "needs a list"),
        (lambda: Choice({1, 2}), "needs a list"),
        (lambda: Choice({"a": 1}), "needs a list"),
        (lambda: Choice([1, 2, 1]), "the same value twice"),
        (lambda: Choice([1, True]), "the same value twice"),
        (lambda: Choice([[1], [2]]), "[1] is no JSON scalar"),
        (lambda: Choice([math.nan]), "nan is no JSON scalar"),
        (lambda: Choice([1, 2], [1]), "as many positive numbers"),
        (lambda: Choice([1, 2], [1, 0]), "as many positive numbers"),
        (lambda: Choice([1, 2], [1, -1]), "as many positive numbers"),
        (lambda: Choice([1, 2], [1, math.nan]), "as many positive numbers"),
        (lambda: Choice([1, 2], [1, math.inf]), "as many positive numbers"),
        (lambda: Choice([1, 2], [1, "2"]), "as many positive numbers"),
        (lambda: Choice([1, 2], [1, True]), "as many positive numbers"),
        (lambda: Choice([1, 2], 3), "as many positive numbers"),
        (lambda: Choice([1, 2], []), "as many positive numbers"),
        (lambda: Choice([1, 2], [1, 1e-30]), "too far apart"),
        (lambda: Float(0, 1, when={}), "when must be a mapping"),
        (lambda: Float(0, 1, when="adam"), "when must be a mapping"),
        (lambda: Space(o=Choice([1, 2]), x=Float(0, 1, when={"p": 1})), "param 'x': when: 'p' is not 'o'"),
        (
            lambda: Space(o=Choice([1, 2]), x=Float(0, 1, when={"o": 3})),
            "param 'x': when: param 'o': 3 is not allowed",
        ),
        (lambda: Space(o=Choice([1, 2]), x=Float(0, 1, when={"o": []})), "param 'x': when: param 'o': []"),
        (lambda: Space(o=Choice([1, 2]), x=Float(0, 1, when={"o": [1, None]})), "None is not allowed"),
        (lambda: Space(o=Int(1, 2), x=Float(0, 1, when={"o": 3})), "3 is no whole number from 1 to 2"),
        (lambda: Space(o=Float(0, 1), x=Float(0, 1, when={"o": 0.5})), "param 'x': when: 'o' is"),
        (lambda: Space(x=Choice([1, 2], when={"x": 1})), "a cycle, x -> x"),
        (lambda: Space(x=Choice([1, 2], when={"y": 1}), y=Choice([1, 2], when={"x": 1})), "a cycle, "),
        (lambda: Space(batch=[32, 64]), "param 'batch': a constant: [32, 64] is no JSON scalar"),
        (lambda: Space(batch=[32, 64]), "write Choice([...])"),
        (lambda: Space(batch=(32, 64)), "write Choice([...])"),
        (lambda: Space(batch={"a": 1}), "write Choice([...])"),
        (lambda: Space(batch=np.arange(2)), "write Choice([...])"),
        (lambda: Space(x=math.inf), "param 'x': a constant: inf is no JSON scalar"),
        (lambda: Space(x=Float), "is no JSON scalar"),
        (lambda: Space(x=np.datetime64("2020-01-01")), "is no JSON scalar"),
        (lambda: Space({"": 1}), "param ''"),
        (lambda: Space({3: 1}), "param 3"),
        (lambda: Space({"a b": 1}), "param 'a b'"),
        (lambda: Space({"a=": 1}), "param 'a='"),
        (lambda: Space({"lr*": 1}), "param 'lr*'"),
        (lambda: Space({"1st": 1}), "param '1st'"),
        (lambda: Space({"a\n": 1}), "param 'a\\n'"),
        (lambda: Space([("a", 1)]), "needs a mapping"),
        (lambda: Space({"a": 1}, a=2), "each name given once"),
        (lambda: Space.from_dict({}), "is no space"),
        (lambda: Space.from_dict({"params": [{"name": "a", "type": "complex"}]}), "is no space"),
        (lambda: Space.from_dict({"params": [{"name": "a", "type": "float", "low": 0}]}), "is no space"),
        (lambda: Space.from_dict({"params": [{"name": "a", "type": "int", "low": 2, "high": 1}]}), "below high"),
    ],
)
def test_a_mistake_is_refused_in_one_line(make: Any, message: str) -> None:
    with pytest.raises(SpaceError) as error:
        make()
    assert message in str(error.value)
    assert "\n" not in str(error.value)
