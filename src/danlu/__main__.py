"""`python -m danlu` is the command `danlu`."""

from danlu.cli import main

main()
