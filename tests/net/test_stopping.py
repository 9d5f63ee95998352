from __future__ import annotations

from smtpproxy.net.stopping import Stopping


def test_the_first_request_stops_and_every_other_hurries() -> None:
    done: list[str] = []
    stopping = Stopping(lambda: done.append("stop"), lambda: done.append("hurry"))
    for _ in range(3):
        stopping.request()
    assert done == ["stop", "hurry", "hurry"]
