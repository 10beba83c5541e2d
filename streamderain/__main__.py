"""`python -m streamderain` is the streamderain command."""
from streamderain.cli import main

if __name__ == "__main__":
    main(prog_name="streamderain")
