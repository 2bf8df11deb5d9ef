"""What is said on a retained topic, and what is skipped."""

from mqttlink.retained import Retained


class Post:
    """Takes every message, and remembers it."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def __call__(self, _topic: str, body: bytes) -> int:
        """Tickets are numbers from 1."""
        self.sent.append(body)
        return len(self.sent)


def test_the_latest_message_wins_while_the_broker_has_not_answered() -> None:
    topic, post = Retained("t"), Post()
    for body in (b"1", b"2", b"3"):
        topic.say(body)
        topic.publish(post)
    assert post.sent == [b"1"]
    assert topic.answered(1)
    topic.publish(post)
    assert post.sent == [b"1", b"3"]


def test_a_final_message_is_never_skipped() -> None:
    topic, post = Retained("t"), Post()
    for body, final in ((b"a open", False), (b"a closed", True), (b"b open", False), (b"b closed", True)):
        topic.say(body, final=final)
    for ticket in (1, 2, 3):
        topic.publish(post)
        topic.answered(ticket)
    assert post.sent == [b"a closed", b"b closed"]


def test_the_latest_is_said_again_unless_there_is_news() -> None:
    topic, post = Retained("t"), Post()
    topic.again()
    topic.publish(post)
    assert post.sent == []
    topic.say(b"1")
    topic.publish(post)
    topic.answered(1)
    topic.again()
    topic.publish(post)
    assert post.sent == [b"1", b"1"]


def test_everything_is_sent_at_the_end() -> None:
    topic, post = Retained("t"), Post()
    topic.say(b"1", final=True)
    topic.say(b"2", final=True)
    topic.publish(post, all_at_once=True)
    assert post.sent == [b"1", b"2"]


def test_the_answer_to_another_message_is_left_to_others() -> None:
    topic, post = Retained("t"), Post()
    topic.say(b"1")
    topic.publish(post)
    assert not topic.answered(7)
    assert topic.answered(1)
