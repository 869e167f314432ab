"""ONNX Runtime, kept quiet: no telemetry, nothing read but the bytes it is given, bounded memory, no busy threads."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from privsdk.errors import UsageError

if TYPE_CHECKING:
    import onnxruntime


MOST_THREADS = 256
"""More would cost memory and start-up alone: ONNX Runtime makes every thread that it is told to."""

MOST_MEMORY = 2 << 30
"""Bytes that all graphs of this process together may compute with; the shipped ones need a tenth in batches of 256."""

MOST_FOLDED = 64 << 20
"""Bytes that each constant which a graph computes while it loads may take; a larger one is computed when it runs."""


def check_threads(threads: int) -> None:
    """Raises UsageError unless ``threads`` is from 1 to 256."""
    if not 1 <= threads <= MOST_THREADS:
        raise UsageError(f"{threads} threads cannot work: give 1 to {MOST_THREADS}")


def session(graph: bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """An inference session on the CPU for a serialized ONNX graph.

    ``threads`` is the number of threads that one call may compute with.  The session may be shared by
    any number of calling threads.

    Raises :class:`TypeError` for anything but bytes (ONNX Runtime would take text for the name of a file),
    UsageError for a number of threads that cannot work, and ONNX Runtime's own errors for bytes that are no valid
    graph; whoever knows which file they came from says so.
    """
    if not isinstance(graph, bytes):
        raise TypeError(f"a graph is given as bytes, not as {type(graph).__name__}")
    check_threads(threads)

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
    # A graph may name a file beside it as a part of its weights; no hash covers that file, so none is found.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    # A graph of 65 bytes can ask for gigabytes, when it runs and, for what is folded while it loads, beside that bound.
    _bound_memory()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("optimization.constant_folding_max_output_size_in_bytes", str(MOST_FOLDED))
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


@cache
def _bound_memory() -> None:
    """Once a process: the allocator that sessions share, of the host's own those alone that ask for it."""
    import onnxruntime

    memory = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(memory, onnxruntime.OrtArenaCfg({"max_mem": MOST_MEMORY}))
