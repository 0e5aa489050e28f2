"""The progress bar, on a terminal and elsewhere."""

import io
import shutil

import pytest

from logtrick._variable_selection.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run(stream):
    progress = Progress({"first": 1.0, "second": 3.0}, stream)
    for stage in ("first", "second"):
        progress.begin(stage)
        for i in range(1, 31):
            progress.reach(i / 30, f"step {i}")
    progress.end()
    return stream.getvalue()


def test_without_a_terminal_there_are_a_few_plain_lines():
    lines = run(io.StringIO()).splitlines()
    assert len(lines) == 8
    assert [line.split(" %")[0].strip() for line in lines] == [
        "0",
        "8",
        "17",
        "25",
        "25",
        "50",
        "75",
        "100",
    ]
    assert lines[0].endswith("s  first")
    assert lines[-1].endswith("s  second, step 30")
    assert not any(c in text for text in lines for c in "\r\x1b█")


def test_on_a_terminal_one_line_is_redrawn_and_left_clean():
    text = run(Terminal())
    assert "\n" not in text
    frames = text.split("\r\x1b[2K")
    assert frames[-1] == ""
    filled = [frame.count("█") for frame in frames[1:-1]]
    assert filled == sorted(filled)
    assert (filled[0], filled[-1]) == (0, 16)
    assert max(map(len, frames)) < shutil.get_terminal_size().columns


class Failing(io.StringIO):
    """A stream that fails from its third write on."""

    def __init__(self, error):
        super().__init__()
        self.error, self.writes = error, 0

    def write(self, text):
        self.writes += 1
        if self.writes > 2:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "No space left"), ValueError()])
def test_a_stream_that_fails_is_left_alone(error):
    stream = Failing(error)
    run(stream)
    assert stream.writes == 3


def test_no_stream():
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        progress = Progress({"first": 1.0}, stream)
        progress.begin("first")
        progress.reach(1.0)
        progress.end()
