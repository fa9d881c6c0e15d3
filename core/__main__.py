"""`python -m tablefold`: the same as the command `tablefold`."""

from tablefold.cli import main

main()
