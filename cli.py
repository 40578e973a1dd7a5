"""`python cli.py …` from a checkout is `allocator …`."""

from allocator.__main__ import main

if __name__ == "__main__":
    main(prog_name="allocator")
