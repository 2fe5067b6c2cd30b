# SPDX-License-Identifier: Apache-2.0
"""A rank of a test: runs the functions that come through the pipe, until it is closed."""

import faulthandler
import os
import pickle
import signal
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path


def serve(pipe: Connection) -> None:
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)
    while True:
        try:
            request = pipe.recv_bytes()
        except EOFError:
            break
        try:
            function, args = pickle.loads(request)
            answer = True, function(*args)
        except BaseException:
            answer = False, traceback.format_exc()
        pipe.send_bytes(pickle.dumps(answer))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # without seconds of taking PyTorch down, which other tests look at


if __name__ == "__main__":
    here = Path(__file__).parent
    sys.path[:0] = [str(here), str(here.parent)]
    serve(Connection(int(sys.argv[1])))
