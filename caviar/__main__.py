"""``python -m caviar``: the command line."""

from caviar.cli import main

if __name__ == "__main__":
    main(prog_name="caviar")
