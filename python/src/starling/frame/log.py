"""Lines of JSON as docs/log.schema.json has them, the same as logging.go writes."""

import json
import logging
import threading
import traceback
from datetime import UTC, datetime
from typing import TextIO

from starling.frame.config import Config

_RANKS = {"debug": 0, "info": 1, "warn": 2, "error": 3}


class Log:
    """Writes one JSON object per line, each with ts, level, service, env, version, event and msg. For any thread."""

    def __init__(self, out: TextIO, config: Config, version: str) -> None:
        self._out, self._rank = out, _RANKS[config.log_level]
        self._base = {"service": config.service_name, "env": config.env, "version": version}
        self._stacks = config.env != "prod"
        self._lock = threading.Lock()

    def write(self, level: str, msg: str, /, event: str = "log", **fields: object) -> None:
        """Writes a line of level debug, info, warn or error, stacks only outside prod.

        msg is constant per place; what varies goes into fields (snake_case).
        """
        if _RANKS[level] < self._rank:
            return
        if not self._stacks:
            fields.pop("stack", None)
        ts = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"ts": ts, "level": level, "msg": msg, **self._base, "event": event, **fields}
        text = json.dumps(line, default=str, separators=(",", ":"))
        with self._lock:
            self._out.write(text + "\n")
            self._out.flush()

    def adopt(self) -> None:
        """Makes what libraries log (warnings and worse), and Python's own warnings, lines of this log."""
        root = logging.getLogger()
        root.handlers[:] = [_Adopted(self)]
        root.setLevel(logging.WARNING)
        logging.captureWarnings(capture=True)


class _Adopted(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, object] = {"logger": record.name}
        if record.exc_info and record.exc_info[1]:
            fields["error"] = repr(record.exc_info[1])
            fields["stack"] = "".join(traceback.format_exception(record.exc_info[1]))
        level = "error" if record.levelno >= logging.ERROR else "warn"
        self._log.write(level, record.getMessage() or "(nothing)", **fields)  # type: ignore[arg-type]
