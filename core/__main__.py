"""`python -m tablefold` and the command `tablefold`."""

import signal
import sys

from tablefold.machine.threads import limit_threads


def main() -> None:
    """Run the command line. Ctrl-C ends it without a traceback, also while it is imported."""
    if sys.argv[1:2] == ["serve"]:
        # The imports take a second, and the first process of a container ignores SIGTERM until then.
        from tablefold.server.processes.signals import exit_on_signals

        exit_on_signals()
    limit_threads()
    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # a shell may have it ignored
    if heeded:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from tablefold.cli import main as run

    if heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
