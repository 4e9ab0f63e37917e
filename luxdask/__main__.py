"""`python -m luxdask` is the program `luxdask`."""

from __future__ import annotations

from luxdask.cli import main

if __name__ == "__main__":
    main()
