"""`python -m course COMMAND`: what the book is made, graded and kept with."""

import argparse
import importlib.util
import sys

COMMANDS = {
    "archive": "put the project, the rendered book and all wheels into one zip that needs no index",
    "build": "turn the sources of chapters and exercise sheets into executed notebooks",
    "data": "print one of the book's texts: tales, manuals or shakespeare",
    "grade": "grade completed exercise sheets",
    "gradescope": "write the archive with which Gradescope grades a sheet",
    "release": "write a copy of the book for students, without solutions",
    "similar": "show which submissions look alike, for a person to read them",
    "taleteller": "train the model that comes with the book, or judge what it tells",
}


def main(argv: list[str] | None = None) -> int:
    try:
        return dispatch(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        print("interrupted; files that were not finished are as they were", file=sys.stderr)
        return 130


def dispatch(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m course")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, purpose in COMMANDS.items():
        if not importlib.util.find_spec(f"course.{name}"):
            continue  # a copy for students lacks some
        command = subparsers.add_parser(name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
        if name in argv[:1]:  # only the chosen command pays for its imports
            module = importlib.import_module(f"course.{name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    args = parser.parse_args(argv)
    return args.run(args)


if __name__ == "__main__":
    sys.exit(main())
