"""``python -m evtfw`` is the command ``evtfw``."""

from evtfw.cli.main import main

if __name__ == "__main__":
    main()
