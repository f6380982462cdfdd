#!/usr/bin/env python3
"""Appends readings to a log from Python, with nothing but the standard library.

    telemetry.py DIRECTORY [READINGS]

Needs the shared library of forebay: installed, or named by FOREBAY_LIBRARY. The class below is small
enough to be copied into a program; include/forebay.h says what each function does.
"""

import ctypes
import ctypes.util
import os
import sys
import time
from ctypes import POINTER, Structure, byref, c_char_p, c_int32, c_int64, c_size_t, c_uint32, c_uint64
from ctypes import c_void_p


class Bytes(Structure):
    """forebay_bytes. What it points to is kept by `kept`, for as long as the struct lives."""

    _fields_ = [("data", c_char_p), ("len", c_size_t)]

    @classmethod
    def of(cls, value):
        """None for no bytes at all, as of a record that has no key."""
        if value is None:
            return cls(None, 0)
        value = value.encode() if isinstance(value, str) else bytes(value)
        made = cls(value, len(value))
        made.kept = value
        return made


class NewRecord(Structure):
    """forebay_new_record."""

    _fields_ = [
        ("key", Bytes),
        ("value", Bytes),
        ("headers", c_void_p),
        ("header_count", c_size_t),
        ("timestamp_ms", c_int64),
        ("flags", c_uint32),
        ("reserved_flags", c_uint32),
        ("reserved", c_uint64 * 2),
    ]


def load():
    """The shared library, with the types of the functions that are used here."""
    name = os.environ.get("FOREBAY_LIBRARY") or ctypes.util.find_library("forebay")
    if name is None:
        raise OSError("libforebay is not installed; FOREBAY_LIBRARY may name its file")
    library = ctypes.CDLL(name)
    library.forebay_version_number.restype = c_uint32
    if library.forebay_version_number() // 1000 != 1:
        # Before 1.0 another minor version may have other structs.
        raise OSError(f"{name} is another version than 0.1, which this program was written for")
    library.forebay_last_error.restype = c_char_p
    library.forebay_log_end_offset.restype = c_int64
    library.forebay_log_end_offset.argtypes = [c_void_p]
    for function, arguments in {
        "forebay_log_open": [Bytes, c_void_p, POINTER(c_void_p)],
        "forebay_log_append_record": [c_void_p, POINTER(NewRecord), POINTER(c_int64)],
        "forebay_log_append_batch": [c_void_p, POINTER(NewRecord), c_size_t, POINTER(c_int64)],
        "forebay_log_flush": [c_void_p, POINTER(c_int64)],
        "forebay_log_close": [c_void_p],
    }.items():
        getattr(library, function).argtypes = arguments
        getattr(library, function).restype = c_int32
    return library


class ForebayError(Exception):
    """A failure: `status` is what programs go by, the text says what to do."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class Log:
    """A log, to be appended to by any number of threads; `with` closes it."""

    library = None

    def __init__(self, directory):
        if Log.library is None:
            Log.library = load()
        self._log = c_void_p()
        self._check(self.library.forebay_log_open(Bytes.of(os.fsencode(directory)), None, byref(self._log)))

    def append(self, value, key=None, timestamp_ms=0):
        """Appends one record and returns its offset."""
        record = self._record(key, value, timestamp_ms)
        offset = c_int64()
        self._check(self.library.forebay_log_append_record(self._log, byref(record), byref(offset)))
        return offset.value

    def append_batch(self, pairs):
        """Appends (key, value) pairs, all or none, and returns the first one's offset."""
        records = [self._record(key, value, 0) for key, value in pairs]
        array = (NewRecord * len(records))(*records)
        offset = c_int64()
        self._check(self.library.forebay_log_append_batch(self._log, array, len(records), byref(offset)))
        return offset.value

    def flush(self):
        """From here on a power cut takes nothing of what was appended."""
        durable = c_int64()
        self._check(self.library.forebay_log_flush(self._log, byref(durable)))
        return durable.value

    def end_offset(self):
        """The offset that the next record gets."""
        offset = self.library.forebay_log_end_offset(self._log)
        self._check(min(offset, 0))
        return offset

    def close(self):
        """Makes everything durable, and says so: unlike what happens to a log that is dropped."""
        log, self._log = self._log, c_void_p()
        self._check(self.library.forebay_log_close(log))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @staticmethod
    def _record(key, value, timestamp_ms):
        key, value = Bytes.of(key), Bytes.of(value)
        record = NewRecord(key=key, value=value, timestamp_ms=timestamp_ms)
        # A struct that is copied into another does not keep what it points to.
        record.kept = (key, value)
        return record

    def _check(self, status):
        if status != 0:
            # The text is this thread's, and gone with its next call.
            raise ForebayError(status, self.library.forebay_last_error().decode())


def main(arguments):
    if len(arguments) not in (2, 3):
        print(f"usage: {arguments[0]} DIRECTORY [READINGS]", file=sys.stderr)
        return 2
    readings = int(arguments[2]) if len(arguments) == 3 else 10
    try:
        with Log(arguments[1]) as log:
            log.append("started", timestamp_ms=time.time_ns() // 1_000_000)
            for count in range(readings):
                log.append(f"{20 + count % 7}.5 C", key="temperature")
            log.append_batch([("pressure", "1013 hPa"), ("battery", b"\x0c\x1e")])
            durable = log.flush()
            print(f"{durable} records are durable")
    except ForebayError as error:
        print(f"{arguments[1]}: {error} ({error.status})", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
