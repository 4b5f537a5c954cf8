"""What to do about an SQLite file that cannot be used, though nothing is wrong with it."""

import sqlite3

PERMISSIONS = "check the permissions of the file and its folder"
REMEDIES = {
    sqlite3.SQLITE_BUSY: "another run has it: wait for that one to end, or stop it",
    sqlite3.SQLITE_FULL: "free disk space there and for temporary files (TMPDIR), then run again to go on",
    sqlite3.SQLITE_IOERR: "check the disk, and that it can be reached, then run again to go on",
    sqlite3.SQLITE_READONLY: PERMISSIONS,
    sqlite3.SQLITE_CANTOPEN: PERMISSIONS,
    sqlite3.SQLITE_PERM: PERMISSIONS,
}
"""By SQLite's primary result code."""


def remedy(error: BaseException | None) -> str | None:
    """What to do about an error of SQLite, which another library may have wrapped; None for any other error."""
    while error is not None:
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None:
            return REMEDIES.get(code & 0xFF)
        error = getattr(error, "orig", None) or error.__cause__
    return None
