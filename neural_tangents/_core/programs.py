"""Programs that are made once and kept."""

from collections.abc import Callable, Hashable
from typing import Any


class Programs:
    """Functions (or objects) by a key, each made when it is first asked for. Pickled without them."""

    def __init__(self) -> None:
        self._made: dict[Hashable, Any] = {}

    def kept(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make` returned for this key."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def __reduce__(self) -> tuple[Any, ...]:
        return Programs, ()
