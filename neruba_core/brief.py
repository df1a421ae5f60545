"""Nouns of which each charge makes a dozen.

For the type checker ``brief`` and ``sealed`` are attrs' ``frozen``, so that nobody changes one. At run time
``brief`` leaves out the guard, which takes four fifths of the time that making one takes. What is handed out
to whoever embeds us needs the guard: ``sealed`` puts it on once the noun is made, instead of getting around
it for each attribute. What is made now and then is ``frozen``.
"""

from __future__ import annotations

from functools import partial, wraps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attrs import frozen as brief
    from attrs import frozen as sealed
else:
    from attrs import define

    brief = partial(define, unsafe_hash=True)

    def sealed(noun: type) -> type:
        """A class like ``frozen(noun)``, of which instances are made nearly as fast as of ``brief(noun)``."""
        # A slot for weak references would make Python take the two for different shapes.
        shut = define(noun, frozen=True, weakref_slot=False)
        still_open = define(noun, unsafe_hash=True, weakref_slot=False)
        fill, become = still_open.__init__, object.__setattr__

        @wraps(fill)
        def make(self: Any, *values: Any, **named: Any) -> None:
            # Both have the same slots, so an instance of the one may become one of the other.
            become(self, "__class__", still_open)
            fill(self, *values, **named)
            self.__class__ = shut

        shut.__init__ = make
        return shut


__all__ = ["brief", "sealed"]
