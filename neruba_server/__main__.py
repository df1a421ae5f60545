"""``python -m neruba_server`` is ``neruba``."""

from neruba_server.cli import main

if __name__ == "__main__":
    main(prog_name="neruba")
