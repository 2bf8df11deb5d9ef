"""Pages are told what has changed, once each, however much comes."""

import asyncio

from dashboard.live.hub import Hub


def test_changes_that_come_together_are_told_once() -> None:
    async def told() -> list[tuple[str, ...]]:
        hub = Hub()
        with hub.listening(lambda change: change[0] == "agent") as listener:
            for _ in range(1000):
                hub.tell(("agent", "lab", "scope-1"))
                hub.tell(("view", "lab", "scope-1"))
            found = await listener.changes(within_s=1, pace_s=0)
            assert await listener.changes(within_s=0.01, pace_s=0) == []
        assert hub.watched == 0
        return found

    assert asyncio.run(told()) == [("agent", "lab", "scope-1")]


def test_who_waits_for_changes_is_woken_when_the_server_ends() -> None:
    async def waited() -> bool:
        hub = Hub()
        with hub.listening(lambda _: True) as listener:
            asyncio.get_running_loop().call_later(0.01, hub.end)
            return await asyncio.wait_for(listener.changes(within_s=60, pace_s=0), 30) == [] and hub.over

    assert asyncio.run(waited())
