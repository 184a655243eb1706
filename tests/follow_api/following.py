"""A reflector at work in a thread, and what it has told so far."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.egress.gateway.plugins.module_utils.follow.api import Api
from ansible_collections.egress.gateway.plugins.module_utils.follow.credentials import Credentials
from ansible_collections.egress.gateway.plugins.module_utils.follow.objects import Resource
from ansible_collections.egress.gateway.plugins.module_utils.follow.reflector import (
    Change,
    Reflector,
    State,
    Timing,
)

QUICK = Timing(patience=5, watch=20, settled=0.2, first_pause=0.01, longest_pause=0.05)


class Following:
    """``known`` is made of the changes alone, so that it shows whether they tell everything."""

    def __init__(self, kubeconfig: Path, resource: Resource[Any], timing: Timing = QUICK, known: Any = ()) -> None:
        self.changes: list[Change[Any]] = []
        self.states: list[State] = []
        self.known: dict[tuple[str, str], Any] = {one.key: one for one in known}
        self.error: BaseException | None = None
        self.reflector = Reflector(
            Api(Credentials(str(kubeconfig))), resource, self._emit, self.states.append, known, timing
        )
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Following":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.reflector.stop()
        self._thread.join(10)
        assert not self._thread.is_alive(), "the reflector does not stop"
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            self.reflector.run()
        except BaseException as error:
            self.error = error

    def _emit(self, changes: Sequence[Change[Any]]) -> None:
        for change in changes:
            one = change.new or change.old
            assert self.known.get(one.key) == change.old, "a change from what was never told"
            if change.new is None:
                del self.known[one.key]
            else:
                self.known[one.key] = change.new
            self.changes.append(change)

    @property
    def names(self) -> list[str]:
        return sorted(name for _, name in dict(self.known))

    @property
    def reasons(self) -> list[str]:
        return [state.reason for state in self.states if not state.synced]

    def until(self, condition: Callable[[], Any], seconds: float = 10) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if self.error is not None:
                raise self.error
            assert time.monotonic() < end, f"still {self.names}, {self.reflector.state}, {self.reflector.counters}"
            time.sleep(0.005)

    def until_synced(self) -> None:
        self.until(lambda: self.reflector.state.synced)
