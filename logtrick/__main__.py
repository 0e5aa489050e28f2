"""`python -m logtrick`: the main job, or a command of the library."""

import importlib
import sys
from collections.abc import Sequence

# A command's module has `main(arguments) -> exit status`; it is imported when the command is given.
COMMANDS = {
    "bench": ("logtrick.diagnostics._bench", "measure gradient estimators: bias, variance, cost"),
    "vi": ("logtrick.vi._command", "fit a posterior by variational inference, with a verdict"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, or the main job; the exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments and arguments[0] in COMMANDS:
        return _command(arguments[0], arguments[1:])
    from logtrick._variable_selection import command

    lines = [f"  python -m logtrick {name:<6} {text}" for name, (_, text) in COMMANDS.items()]
    epilog = "\n".join(["further commands, each with its own --help:", *lines])
    return command.main(arguments, epilog)


def _command(name: str, arguments: list[str]) -> int:
    module, _ = COMMANDS[name]
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise  # a dependency of the command
        print(
            f"python -m logtrick {name}: error: this installation lacks {module}. Install logtrick anew.",
            file=sys.stderr,
        )
        return 2
    status: int = found.main(arguments)
    return status


if __name__ == "__main__":
    sys.exit(main())
