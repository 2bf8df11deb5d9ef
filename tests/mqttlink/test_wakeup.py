"""One thread ends another's wait for the network."""

import select

from mqttlink.wakeup import WakeUp


def readable(wake_up: WakeUp) -> bool:
    poller = select.poll()
    poller.register(wake_up, select.POLLIN)
    return bool(poller.poll(0))


def test_it_is_readable_from_a_call_until_it_is_cleared() -> None:
    wake_up = WakeUp()
    seen = [readable(wake_up)]
    for _ in range(100_000):  # far more than its buffer holds
        wake_up.wake()
    seen.append(readable(wake_up))
    wake_up.clear()
    seen.append(readable(wake_up))
    wake_up.wake()
    seen.append(readable(wake_up))
    wake_up.close()
    assert seen == [False, True, False, True]


def test_a_call_after_the_end_does_nothing() -> None:
    wake_up = WakeUp()
    wake_up.close()
    wake_up.wake()
