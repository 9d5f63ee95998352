from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpproxy.embedded.maildir import deliver

if TYPE_CHECKING:
    from pathlib import Path


@given(content=st.binary(max_size=2000))
def test_content_is_stored_octet_for_octet(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    maildir = tmp_path_factory.mktemp("mail")
    name = deliver(maildir, content)
    assert (maildir / "new" / name).read_bytes() == content


def test_each_message_gets_a_file_of_its_own(tmp_path: Path) -> None:
    names = {deliver(tmp_path, b"the same\r\n") for _ in range(20)}
    assert {entry.name for entry in (tmp_path / "new").iterdir()} == names
    assert len(names) == 20


def test_nothing_stays_in_tmp_and_nobody_else_may_read(tmp_path: Path) -> None:
    name = deliver(tmp_path / "box", b"private\r\n")
    assert list((tmp_path / "box" / "tmp").iterdir()) == []
    assert (tmp_path / "box" / "new" / name).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "box" / "new").stat().st_mode & 0o777 == 0o700


def test_a_store_that_cannot_take_it_raises_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "cur").mkdir()
    (tmp_path / "new").symlink_to("/dev/null/nowhere")
    with pytest.raises(OSError, match="new"):
        deliver(tmp_path, b"lost\r\n")
    assert list((tmp_path / "tmp").iterdir()) == []
