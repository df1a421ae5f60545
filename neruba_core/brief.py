"""Nouns of which each charge makes a dozen, and each request several.

For the type checker ``brief`` is attrs' ``frozen``, so that nobody changes one. At run time it leaves out the
guard, which takes four fifths of the time that making one takes. What is made now and then is ``frozen``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attrs import frozen as brief
else:
    from attrs import define

    brief = partial(define, unsafe_hash=True)

__all__ = ["brief"]
