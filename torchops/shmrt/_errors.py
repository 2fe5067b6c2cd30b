# SPDX-License-Identifier: Apache-2.0
"""The one exception type of the package. C++ imports it from here when it has something to raise."""

import os


class Error(RuntimeError):
    """What the runtime refused, or what went wrong between the ranks.

    ``code`` is a value of the standard module ``errno``. EINVAL and ENOTSUP refuse a call before
    anything was shared: the communicator stays usable. After EPROTO (the ranks disagree), ETIMEDOUT
    (a rank did not come) and ECONNABORTED (a rank died or left) it is dead: ``shmrt.finalize()``,
    then ``shmrt.init()`` again on every rank.
    0 where only the text is left, as when a DataLoader raises a worker's exception anew.
    """

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code

    def __reduce__(self) -> tuple[type["Error"], tuple[str, int]]:
        return type(self), (str(self), self.code)

    def __repr__(self) -> str:
        return f"shmrt.Error({os.strerror(self.code) if self.code else 'no code'!r}, {str(self)!r})"
