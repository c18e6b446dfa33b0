"""Makes UTF-8 the encoding of file names, text files and output in every locale."""

import io
import locale
import os
import sys


def use_utf8() -> None:
    """Restarts the program in Python's UTF-8 mode if the locale has another encoding; to be called first.

    Otherwise a name that is not ASCII would be read differently in each locale: it would count as another video and
    could not be opened or printed. Child processes inherit the mode. What cannot be encoded is printed as an escape.
    """
    in_force = sys.flags.utf8_mode or locale.getencoding().lower() in ("utf-8", "utf8")
    if not in_force and os.environ.get("PYTHONUTF8") != "1" and sys.executable:
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # PYTHONIOENCODING may name another encoding, but JSON is UTF-8.
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
