"""What a busy machine withholds from a process: no deadline of the gateway can answer for that."""

from pathlib import Path


def withheld(pid: int | str = "self") -> float:
    """Seconds that the main thread of a process was ready to run, and waited for a processor.

    They count from its beginning (proc(5): schedstat); 0.0 where the kernel does not tell.
    """
    try:
        text = Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return int(text.split()[1]) / 1e9
