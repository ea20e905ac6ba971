"""Programs that are made once and kept."""

from collections.abc import Callable, Hashable
from typing import Any


class Programs:
    """Functions (or objects) by a key, each made when it is first asked for. Pickled without them.

    Attributes:
      most: how many are kept; of more, those that have not been asked for longest are dropped.
    """

    def __init__(self, most: int | None = None) -> None:
        self.most = most
        self._made: dict[Hashable, Any] = {}

    def kept(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make` returned for this key."""
        made = self._made.pop(key) if key in self._made else make()
        self._made[key] = made  # as the last one
        if self.most is not None and len(self._made) > self.most:
            del self._made[next(iter(self._made))]
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Programs, (self.most,)
