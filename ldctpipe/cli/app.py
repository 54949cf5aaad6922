"""The `ldctpipe` program: its commands, and what each kind of failure prints and returns."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from types import FrameType
from typing import Annotated

import typer

from ldctpipe import __version__
from ldctpipe.cli import (
    denoise,
    doctor,
    evaluate,
    ingest,
    inspect,
    phantom,
    prepare,
    protocols,
    recipes,
    report,
    samplesheet,
    simulate,
    train,
)
from ldctpipe.errors import ExitCode, InputError, StoppedEarly

app = typer.Typer(
    name="ldctpipe",
    help="Low-dose CT denoising: from raw DICOM to a trained denoiser, denoised DICOM and a report.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
# In the order of a run.
for _command in (
    inspect, phantom, simulate, samplesheet, ingest, prepare, train, denoise, evaluate, report, recipes, protocols,
    doctor,
):  # fmt: skip
    app.command(name=_command.__name__.rpartition(".")[2])(_command.command)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"ldctpipe {__version__}")
        raise typer.Exit()


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line of this process and exit with a code of `ExitCode`."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; every failure the user can mend is one line on stderr."""
    try:
        result = app(arguments, standalone_mode=False)
        return int(result) if isinstance(result, int) else ExitCode.DONE
    except typer.TyperException as error:
        return _fail(
            f"{error.format_message()} (ldctpipe {' '.join(arguments[:1])} --help lists what it takes)", ExitCode.USAGE
        )
    except (InputError, StoppedEarly) as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # the reader of our stdout left; that is its right
        return ExitCode.DONE
    except OSError as error:
        return _fail(_sentence(error), ExitCode.IO)
    except Exception:  # noqa: BLE001 - the last resort: whatever arrives here is a bug and shows itself in full
        traceback.print_exc()
        return _fail(f"this is a bug in ldctpipe {__version__}: please report it with the lines above.", ExitCode.BUG)


def _fail(sentence: str, code: int) -> int:
    print(f"ldctpipe: {sentence}", file=sys.stderr, flush=True)
    return code


def _sentence(error: OSError) -> str:
    where = error.filename2 or error.filename or "a file"
    remedy = {
        errno.ENOSPC: "free some space and run the same command again",
        errno.EDQUOT: "free some of your quota and run the same command again",
        errno.EACCES: "give yourself the right to it or choose another path",
        errno.EROFS: "choose a path that can be written",
    }.get(error.errno or 0, "check the path and its file system")
    return f"{where}: {error.strerror or error}; {remedy}."


def _stop(number: int, _frame: FrameType | None) -> None:
    name = signal.Signals(number).name
    raise StoppedEarly(f"stopped by {name}: nothing half-written is left; run the same command again to go on.")


if __name__ == "__main__":
    main()
