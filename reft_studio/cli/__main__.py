"""`python -m reft_studio.cli`: the command line, as `reft-studio` is."""

from reft_studio.cli.app import main

if __name__ == "__main__":
    main()
