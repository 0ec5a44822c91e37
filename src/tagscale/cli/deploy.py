"""The command that rolls a registered version out on a cluster, for all requests or as a canary for some."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from tagscale.cli.stages import PARAMS, ParamsFile
from tagscale.cli.use import USE
from tagscale.params.load import load
from tagscale.runtime.errors import TagscaleError

if TYPE_CHECKING:
    from tagscale.cluster.canary import Canaries, Canary
    from tagscale.cluster.rollout import Served

app = typer.Typer()


@app.command(rich_help_panel=USE)
def deploy(
    version: Annotated[
        str | None,
        typer.Argument(help="Version number or alias; default: the champion, and of a canary the challenger."),
    ] = None,
    canary: Annotated[
        int | None, typer.Option(min=1, max=99, help="Percent of the requests that the version gets, beside the other.")
    ] = None,
    promote: Annotated[bool, typer.Option("--promote", help="The canary's version gets all requests.")] = False,
    back: Annotated[
        bool, typer.Option("--back", help="End the canary, or return to the version that was served before.")
    ] = False,
    namespace: Annotated[str, typer.Option(help="Of the champion's pods.")] = "tagscale",
    minutes: Annotated[float, typer.Option(min=0.1, help="How long to wait for its pods.")] = 15,
    params: ParamsFile = PARAMS,
) -> None:
    """Roll out a registered version on the cluster that kubectl talks to, and wait until no pod serves another.

    With --canary, the version gets a part of the requests, until --promote gives it all or --back none.
    The registry is not changed: `tagscale promote` and `tagscale rollback` move the champion.
    """
    chosen = {"--canary": canary is not None, "--promote": promote, "--back": back}
    given = [option for option, is_chosen in chosen.items() if is_chosen]
    if len(given) > 1 or (version and (promote or back)):
        options_given = " and ".join([*([version] if version else []), *given])
        raise TagscaleError(f"expected a version, --promote or --back, one of them; found {options_given}.")
    from tagscale.cluster.canary import WITHOUT, canaries
    from tagscale.cluster.rollout import rollouts
    from tagscale.registry.versions import CHALLENGER, CHAMPION, Registry

    name, seconds = load(params).registry.name, minutes * 60
    cluster, registry = rollouts(namespace, typer.echo), Registry.open(name)
    served = cluster.served()
    if served.model != name:
        raise TagscaleError(
            f"The pods in namespace {namespace} serve the model {served.model} (--model of their container), and "
            f"registry.name in {params} is {name}. Make them one."
        )
    split = canaries(cluster, served)
    beside = split.present() if split else None
    console = Console(highlight=False, soft_wrap=True)
    if canary is not None:
        if split is None:
            raise TagscaleError(WITHOUT)
        number = registry.version(version or CHALLENGER).number
        _check_canary(served, beside, number)
        share = split.start(number, canary, seconds).percent
        console.print(
            f"{name}: version [bold]{number}[/] gets {share:.0f} % of the requests, version {served.version} the "
            "others. `tagscale deploy --promote` gives it all, `tagscale deploy --back` none."
        )
        return
    if split and beside:
        number, before = _end(split, beside, served, promote, back, seconds)
    elif promote:
        raise TagscaleError(f"--promote: no canary in namespace {namespace}; `tagscale deploy --canary 10` starts one.")
    elif back and not served.before:
        raise TagscaleError(f"Namespace {namespace}: no version was served before {served.version or 'the first one'}.")
    else:
        number = registry.version((served.before if back else version) or CHAMPION).number
        before = cluster.roll_out(number, seconds).version
    replaced = f", in place of version {before}" if before and before != number else ""
    console.print(f"{name}: version [bold]{number}[/] is served, and no other{replaced}.")
    champion = registry.aliases().get(CHAMPION)
    if champion != number:
        holder = f"version {champion}" if champion else "nobody"
        console.print(f"The registry's champion is {holder}: `tagscale promote` or `tagscale rollback` moves it.")


def _check_canary(served: "Served", beside: "Canary | None", number: str) -> None:
    """Refuse a canary beside nothing, beside itself, or beside another one."""
    if served.version is None:
        raise TagscaleError("--canary: no version is served yet; `tagscale deploy` rolls out the champion.")
    if number == served.version:
        raise TagscaleError(f"--canary: version {number} has all requests already; name another version.")
    if beside and beside.version != number:
        raise TagscaleError(
            f"--canary: version {beside.version} is the canary now: end it first (tagscale deploy --promote or --back)."
        )


def _end(
    split: "Canaries", beside: "Canary", served: "Served", promote: bool, back: bool, seconds: float
) -> tuple[str, str | None]:
    """End a canary in one way or the other; returns the version that gets all requests, and the one that gets none.

    Raises:
        TagscaleError: neither way is asked for.
    """
    if promote:
        split.promote(seconds)
        return beside.version, served.version
    if not back:
        raise TagscaleError(
            f"Version {beside.version} is a canary beside version {served.version}: end it first (--promote or --back)."
        )
    split.end(seconds)
    return str(served.version), beside.version
