import logging
import warnings

import pytest

from tests.asgi import Book


@pytest.fixture
def _root() -> object:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def test_every_line_fits_the_schema() -> None:
    book = Book()
    for level in ("debug", "info", "warn", "error"):
        book.log.write(level, "plain")
    book.log.write("info", "named", "robot.lost", robot_id="r1", silent_for=1.5, path="/\ud800", what=object())
    lines = book.lines()
    assert [line["level"] for line in lines] == ["debug", "info", "warn", "error", "info"]
    assert [line["event"] for line in lines] == ["log"] * 4 + ["robot.lost"]
    assert {(line["service"], line["env"], line["version"]) for line in lines} == {("starling-test", "dev", "v1")}


def test_what_is_below_the_level_is_not_written() -> None:
    book = Book(LOG_LEVEL="warn")
    for level in ("debug", "info", "warn", "error"):
        book.log.write(level, "plain")
    assert [line["level"] for line in book.lines()] == ["warn", "error"]


def test_in_production_there_are_no_stacks() -> None:
    for env, has in (("prod", False), ("dev", True)):
        book = Book(ENV=env, OIDC_ISSUER="https://i.example", OIDC_AUDIENCE="a")
        book.log.write("error", "broken", stack="line 1")
        assert ("stack" in book.last()) == has


@pytest.mark.usefixtures("_root")
def test_what_libraries_say_becomes_lines_too() -> None:
    book = Book()
    book.log.adopt()
    logging.getLogger("some.library").info("a detail")
    logging.getLogger("some.library").warning("%d left", 3)
    logging.getLogger("some.library").error("")
    logging.getLogger("some.library").error("it failed", exc_info=ValueError("reason"))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    warned, empty, failed, old = book.lines()
    assert (warned["level"], warned["msg"], warned["logger"]) == ("warn", "3 left", "some.library")
    assert empty["msg"]
    assert (failed["level"], failed["error"]) == ("error", "ValueError('reason')")
    assert failed["stack"] == "ValueError: reason\n"
    assert old["logger"] == "py.warnings"
