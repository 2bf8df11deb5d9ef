"""Guessing passwords is slow."""

import pytest

from dashboard.security.attempts import FREE, LONGEST_S, Attempts, network_of


def test_a_few_failures_cost_no_wait_and_each_more_doubles_it() -> None:
    now = 0.0
    attempts = Attempts(lambda: now)
    waits = []
    for _ in range(FREE + 12):
        attempts.failed("name ada")
        waits.append(attempts.wait_s("name ada"))
        now += waits[-1]
    assert waits[: FREE - 1] == [0] * (FREE - 1)
    assert waits[FREE - 1 : FREE + 3] == [1, 2, 4, 8]
    assert waits[-1] == LONGEST_S


def test_a_name_waits_from_every_address_and_an_address_for_every_name() -> None:
    attempts = Attempts(lambda: 0.0)
    for _ in range(FREE):
        attempts.failed("name ada", "address 1")
    assert attempts.wait_s("name ada", "address 2") > 0
    assert attempts.wait_s("name bob", "address 1") > 0
    assert attempts.wait_s("name bob", "address 2") == 0


def test_a_right_password_forgives_what_was_before() -> None:
    attempts = Attempts(lambda: 0.0)
    for _ in range(FREE):
        attempts.failed("name ada")
    attempts.succeeded("name ada")
    assert attempts.wait_s("name ada") == 0


def test_any_number_of_names_takes_bounded_memory() -> None:
    attempts = Attempts(lambda: 0.0)
    for number in range(30_000):
        attempts.failed(f"name {number}")
    assert len(attempts._failed) <= 10_000


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:0:1:ffff::7", "2001:db8:0:1::/64"),
        ("2001:db8:0:1::8", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("testclient", "testclient"),
        ("a" * 900, "a" * 64),
    ],
)
def test_all_addresses_of_a_network_of_ipv6_are_one(address: str, network: str) -> None:
    assert network_of(address) == network
