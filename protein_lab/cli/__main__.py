"""Run the command line as ``python -m protein_lab.cli``."""

from protein_lab.cli import main

main()
