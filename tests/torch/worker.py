# SPDX-License-Identifier: Apache-2.0
"""A rank of a test: runs the functions that come through the pipe, until it is closed."""

import faulthandler
import pickle
import signal
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path


def main() -> None:
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    sys.path.insert(0, str(Path(__file__).parent))
    pipe = Connection(int(sys.argv[1]))
    while True:
        try:
            request = pipe.recv_bytes()
        except EOFError:
            return
        try:
            function, args = pickle.loads(request)
            answer = True, function(*args)
        except BaseException:
            answer = False, traceback.format_exc()
        pipe.send_bytes(pickle.dumps(answer))


main()
