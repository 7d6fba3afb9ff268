"""The command line: `danlu VERB …`. One thin function a verb; each imports its work when it is called.

In: words and options. Out: an exit code: 0 done, 1 a proof or check failed, 2 something the user can mend, 130 stopped
by Ctrl-C in a state that can go on. Every `UserError` is printed without a traceback. `danlu --help` imports neither
torch nor pydantic. Reads the environment for the whole package, but for what `parallel` reads.
"""

import io
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from danlu import __version__
from danlu.base import console
from danlu.base.errors import ConfigError, UserError, trouble
from danlu.base.world import World
from danlu.stages import STAGES, Stage

INTERRUPTED = 130
app = typer.Typer(
    name="danlu",
    help="From raw text to your own large language model. 丹炉：从原始文本到你自己的大语言模型。",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RecipeArgument = Annotated[Path, typer.Argument(help="a recipe, for example recipes/quickstart.yaml")]
Values = Annotated[
    list[str] | None, typer.Argument(help="values that override the page: path=value", metavar="[PATH=VALUE]...")
]
Runs = Annotated[Path, typer.Option(help="folder that holds the runs")]
Folder = Annotated[Path, typer.Argument(help="folder of an artefact, for example runs/quickstart/finetune")]


def _version(asked: bool) -> None:
    if asked:
        console.say(f"danlu {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    json: Annotated[bool, typer.Option("--json", help="one JSON object a line, for scripts")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    console.set_mode(json_lines=json, quiet=not _world().is_first)


def _world() -> World:
    """Our place under torchrun; alone where there is no launcher. The device is for each stage to choose."""
    rank, size = _number("RANK"), _number("WORLD_SIZE")
    if rank is None and size is None:
        return World()
    if rank is None or size is None:
        there, absent = ("RANK", "WORLD_SIZE") if size is None else ("WORLD_SIZE", "RANK")
        raise ConfigError(
            f"the environment says {there} and no {absent}",
            found=f"{there}={os.environ[there]}",
            remedy=f"start with torchrun, which sets both; or unset {there}, which some job systems set by themselves",
        )
    if not rank < size:
        raise ConfigError(
            "the environment gives this process a place that there is not",
            found=f"RANK={rank}, WORLD_SIZE={size}",
            remedy="ranks go from 0 to WORLD_SIZE - 1: start with torchrun, or unset both",
        )
    if size > 1 and not os.environ.get("MASTER_ADDR"):
        raise ConfigError(
            "the environment names other processes, and not where they meet",
            found=f"WORLD_SIZE={size} and no MASTER_ADDR",
            remedy="start with torchrun, or unset RANK and WORLD_SIZE to run alone",
        )
    return World(rank=rank, size=size)


def _number(name: str) -> int | None:
    """A whole number from the environment; None where it is not set."""
    text = os.environ.get(name)
    if text is not None and not (text.isascii() and text.isdecimal()):
        raise ConfigError(
            f"the environment variable {name} is not a whole number", found=repr(text), remedy="start with torchrun"
        )
    return None if text is None else int(text)


@app.command()
def new(name: Annotated[str, typer.Argument(help="name of the new folder")]) -> None:
    """Write a starter recipe and a small text to begin with."""
    from danlu.commands.new import run

    run(Path(name))


@app.command()
def show(recipe: RecipeArgument, values: Values = None, runs: Runs = Path("runs")) -> None:
    """Explain a recipe before it runs.

    Resolved values, what is done, parameters, tokens, updates, FLOPs, memory, disk, minutes.
    """
    from danlu.commands.show import run

    run(recipe, values if values is not None else [], runs)


@app.command()
def run(
    recipe: RecipeArgument,
    values: Values = None,
    runs: Runs = Path("runs"),
    from_section: Annotated[str | None, typer.Option("--from", help="start with this section")] = None,
    until: Annotated[str | None, typer.Option(help="stop after this section")] = None,
    again: Annotated[bool, typer.Option(help="make stale sections anew; with --from, all from there on")] = False,
) -> None:
    """Run a recipe. Finished sections are kept, an interrupted one continues."""
    from danlu.commands.run import run as run_recipe

    run_recipe(
        recipe,
        values if values is not None else [],
        runs=runs,
        from_section=from_section,
        until=until,
        again=again,
        world=_world(),
    )


def _add_stage(stage: Stage) -> None:
    """One command a stage: as a section of a recipe, or alone with --input and --out."""
    needs = ", ".join(f"{need}=FOLDER" for need in stage.takes) if stage.takes else "none"

    def command(
        words: Annotated[
            list[str] | None,
            typer.Argument(
                help="RECIPE.yaml and PATH=VALUE words, or values alone", metavar="[RECIPE] [PATH=VALUE]..."
            ),
        ] = None,
        runs: Runs = Path("runs"),
        inputs: Annotated[list[str] | None, typer.Option("--input", help=f"without a recipe: {needs}")] = None,
        out: Annotated[Path | None, typer.Option(help="without a recipe: the folder to make")] = None,
        again: Annotated[bool, typer.Option(help="make it anew")] = False,
    ) -> None:
        from danlu.commands.stage import run as run_stage

        run_stage(
            stage,
            words if words is not None else [],
            runs=runs,
            inputs=inputs if inputs is not None else [],
            out=out,
            again=again,
            world=_world(),
        )

    first, _, more = stage.summary.partition("; ")  # the list of commands shows the first sentence
    command.__doc__ = " ".join(f"{part[0].upper()}{part[1:]}." for part in (first, more) if part)
    app.command(stage.name)(command)


for _stage in STAGES.values():
    if _stage.name != "serve":  # the command `serve` stays; the stage answers three requests and stops
        _add_stage(_stage)


@app.command(name="list")
def list_(runs: Annotated[Path, typer.Argument(help="folder that holds the runs")] = Path("runs")) -> None:
    """List the artefacts below a folder. Kind, state, age, size, main figure of each."""
    from danlu.commands.list import run

    run(runs)


@app.command()
def inspect(artifact: Folder, json: Annotated[bool, typer.Option("--json", help="print the manifest")] = False) -> None:
    """Say what an artefact is and whether it is intact. Also from what it was made, and how good it is."""
    from danlu.commands.inspect import run

    run(artifact, as_json=json or console.is_json())


@app.command()
def look(
    artifact: Folder,
    what: Annotated[str, typer.Option(help="documents, conversations, rejected, or a row set")] = "",
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=1000, help="how many")] = 5,
    start: Annotated[int, typer.Option(min=0, help="first one to show")] = 0,
    reason: Annotated[str, typer.Option(help="only rejections for this reason")] = "",
) -> None:
    """Look inside an artefact. Documents, rejections with reasons, or training rows with tokens and loss mask."""
    from danlu.commands.look import run

    run(artifact, what=what, count=count, start=start, reason=reason)


@app.command()
def chat(
    artifact: Folder,
    system: Annotated[str, typer.Option(help="a system message to begin with")] = "",
    temperature: Annotated[float, typer.Option(min=0, max=2)] = 0.0,
    max_tokens: Annotated[int, typer.Option(min=1, max=32768)] = 256,
    seed: Annotated[int | None, typer.Option(help="with a temperature: draws the same answers each time")] = None,
) -> None:
    """Talk to a model in the terminal or from a pipe. Each line is a message; a \\ at its end joins the next line."""
    from danlu.commands.chat import run

    run(artifact, system=system, temperature=temperature, max_tokens=max_tokens, seed=seed)


@app.command()
def serve(
    artifact: Folder,
    host: Annotated[str, typer.Option(help="address to listen on; a public one needs a key")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one")] = 8000,
    key_file: Annotated[Path | None, typer.Option(help="file with one API key a line")] = None,
    slots: Annotated[int, typer.Option(min=1, max=1024, help="sequences decoded together")] = 8,
    length: Annotated[
        int | None,
        typer.Option(
            min=2, help="most tokens of prompt and answer together; by default the model's, but no more than 8192"
        ),
    ] = None,
) -> None:
    """Serve a model over the OpenAI protocol, with a chat page. Ctrl-C stops it."""
    from danlu.commands.serve import run

    run(artifact, host=host, port=port, key_file=key_file, slots=slots, length=length)


@app.command()
def doctor(seconds: Annotated[float, typer.Option(min=0, max=60, help="seconds of measured steps")] = 3.0) -> None:
    """Describe this machine and what it can train. In five minutes, an hour, a night."""
    from danlu.commands.doctor import run

    run(seconds)


@app.command()
def prove(
    model: Annotated[Path | None, typer.Argument(help="a model folder, ours or a Hugging Face one")] = None,
) -> None:
    """Run the proofs that make sense here. On this machine, and on a model folder where one is given."""
    from danlu.commands.prove import run

    raise typer.Exit(run(model))


@app.command()
def demo(
    recipe: Annotated[Path, typer.Argument(help="the recipe to show")] = Path("recipes/quickstart.yaml"),
    values: Values = None,
    runs: Runs = Path("runs"),
    kill: Annotated[bool, typer.Option("--kill/--no-kill", help="kill training with signal 9 at half-way")] = True,
    again: Annotated[bool, typer.Option("--again", help="make every section anew")] = False,
    sentence: Annotated[
        list[str] | None, typer.Option(help="a sentence to show as tokens; may be given several times")
    ] = None,
) -> None:
    """Run the quickstart before your eyes. Pull the plug at half-way, and go on from there."""
    from danlu.commands.demo import run

    run(
        recipe,
        values if values is not None else [],
        runs=runs,
        kill=kill,
        again=again,
        sentences=sentence if sentence is not None else [],
    )


def main() -> None:
    """Entry point: run the command, turn what a person can mend into one clear message and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a character shows "?" and no traceback
            stream.reconfigure(errors="replace")
    try:
        app()
    except UserError as error:
        _end(error)
    except KeyboardInterrupt:
        console.complain("\nstopped; what was finished is kept: the same command goes on from there")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output has gone (for example `| head`): nothing is wrong and nobody listens.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - stays open until the interpreter ends
        sys.exit(0)
    except (OSError, MemoryError, RuntimeError) as error:  # where no room has said it, with a better place
        sentence = trouble(error, Path())
        if sentence is None:
            raise
        _end(sentence)


def _end(error: UserError) -> NoReturn:
    """Say what a person can mend, or that somebody wished it so, and leave with the exit code that tells which."""
    stopped = error.exit_code == INTERRUPTED
    console.emit("stopped" if stopped else "error", kind=type(error).__name__, text=str(error))
    console.complain(str(error) if stopped else f"error: {error}")
    sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
