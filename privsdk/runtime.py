"""ONNX Runtime, kept quiet: no telemetry, nothing read but the bytes it is given, no busy threads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnxruntime


def session(graph: bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """An inference session on the CPU for a serialized ONNX graph.

    ``threads`` is the number of threads that one call may compute with.  The session may be shared by
    any number of calling threads.

    Raises :class:`TypeError` for anything but bytes (ONNX Runtime would take text for the name of a file),
    :class:`ValueError` for fewer than one thread, and ONNX Runtime's own errors for bytes that are no valid
    graph; whoever knows which file they came from says so.
    """
    if not isinstance(graph, bytes):
        raise TypeError(f"a graph is given as bytes, not as {type(graph).__name__}")
    if threads < 1:
        raise ValueError(f"threads is {threads}: give 1 or more")

    # Read while the library loads, hence before the import; it covers Linux, macOS and Android from 1.29 on.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    # Older releases have telemetry on Windows alone, and only this call turns it off there.
    onnxruntime.disable_telemetry_events()

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised; nothing is printed beside it
    # A thread that spins while it waits empties a phone's battery.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
