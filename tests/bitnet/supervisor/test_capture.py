from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bitnet.capture import LINE_CHARACTERS, BoundedCapture, Lines

pieces = st.lists(st.binary(max_size=40), max_size=20)


@given(pieces, st.integers(0, 60))
def test_what_is_kept_and_what_is_cut_add_up(chunks: list[bytes], limit: int) -> None:
    capture = BoundedCapture(limit)
    for chunk in chunks:
        capture.feed(chunk)
    whole = b"".join(chunks)
    assert capture.cut == max(len(whole) - limit, 0)
    if len(whole) <= limit:
        assert capture.text() == whole.decode(errors="replace")


@given(st.lists(st.text("abc", max_size=40), max_size=20), st.integers(2, 60))
def test_the_beginning_and_the_end_are_what_is_kept(chunks: list[str], limit: int) -> None:
    capture = BoundedCapture(limit)
    for chunk in chunks:
        capture.feed(chunk.encode())
    whole = "".join(chunks)
    if len(whole) > limit:
        head, tail = whole[: limit - limit // 2], whole[len(whole) - limit // 2 :]
        assert capture.text() == f"{head}\n[… {len(whole) - limit} bytes cut …]\n{tail}"


def test_a_flood_takes_no_more_memory_than_the_limit_allows() -> None:
    capture = BoundedCapture(1000)
    for _ in range(10_000):
        capture.feed(b"x" * 997)
    held = len(capture._head) + len(capture._tail)
    assert held <= 1500
    assert capture.cut == 10_000 * 997 - 1000


@given(st.text().filter(lambda text: "\r" not in text), st.integers(1, 7))
def test_lines_are_those_of_the_text_however_its_bytes_are_cut(text: str, step: int) -> None:
    data, lines, out = text.encode(), Lines(), []
    for start in range(0, len(data), step):
        out += lines.feed(data[start : start + step])
    out += lines.feed(b"", final=True)
    expected = text.split("\n")
    assert out == (expected if expected[-1] else expected[:-1])


def test_a_line_without_end_is_handed_on_in_bounded_pieces() -> None:
    lines = Lines()
    out = lines.feed(b"y" * (3 * LINE_CHARACTERS + 5))
    assert [len(piece) for piece in out] == [LINE_CHARACTERS] * 3
    assert lines.feed(b"", final=True) == ["y" * 5]
