# SPDX-License-Identifier: Apache-2.0
"""SHMRT_LOG: how much is told, and where it goes while the program has set up no logging.

All lines go to the logger "shmrt" of Python's logging. Without the variable that is all, and the
program's own levels and handlers hold.
"""

import logging
import os
from collections.abc import Mapping

LEVELS = {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}


class _UntilSomebodyListens(logging.StreamHandler):  # type: ignore[type-arg]  # has none at run time
    """To stderr, as long as the root logger has no handlers."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            super().emit(record)


def log_as_environment_says(environ: Mapping[str, str] = os.environ) -> None:
    """Called at import; a second time it changes nothing but the level."""
    text = environ.get("SHMRT_LOG", "")
    if not text:
        return
    logger = logging.getLogger("shmrt")
    logger.setLevel(LEVELS.get(text, logging.WARNING))
    if not any(isinstance(handler, _UntilSomebodyListens) for handler in logger.handlers):
        handler = _UntilSomebodyListens()
        rank = environ.get("RANK", "?")
        handler.setFormatter(logging.Formatter(f"%(asctime)s shmrt rank {rank} %(levelname)s: %(message)s"))
        logger.addHandler(handler)
    if text not in LEVELS:
        logger.warning("SHMRT_LOG=%s is not one of %s: warnings are told", text, ", ".join(LEVELS))
