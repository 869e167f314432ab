"""The command line.  It calls the public API and says in words what came of it.

Results go to stdout (with ``--json`` for machines), progress and errors to stderr.  Exit codes: 0 done, 1
some samples refused, 2 usage, 3 bundle or privatizer invalid, 4 the requested privacy or utility was not
reached, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import privsdk

app = typer.Typer(
    name="privsdk",
    help="Changes photos of faces, digits or rows of a table so that one label is harder to infer and another is not.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


Method = Literal["flow", "minmax"]
Faces = Literal["largest", "all"]
Names = Literal["random", "keep"]
Format = Literal["png", "jpeg", "webp"]
PrivateColumn = Literal["drop", "resample"]
UtilityColumn = Literal["keep", "drop"]
Order = Literal["shuffled", "kept"]

BundleOption = Annotated[str, typer.Option(help="Encoder bundle: a shipped name, or a folder.")]
PrivateOption = Annotated[
    list[str], typer.Option("--private", help="Label to hide; several times, or with commas, for several.")
]
UtilityOption = Annotated[list[str], typer.Option("--utility", help="Label to keep; as --private.")]
MethodOption = Annotated[Method, typer.Option(help="flow: the default filter; minmax: the paper's.")]
FairnessOption = Annotated[
    float | None, typer.Option(help="Lambda, how much of the utility label is given up; chosen by itself.")
]
AOption = Annotated[float, typer.Option("--a", help="Borrowed score: 1 like the population, 0 least change.")]
RhoOption = Annotated[float, typer.Option("--rho", help="Share of the rest of the face that is kept.")]
BudgetOption = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBER|auto",
        help="Largest mean distortion of a latent; auto: lambda, rho and a by themselves, for --max-leakage.",
    ),
]
MaxLeakageOption = Annotated[
    float | None, typer.Option(help="Largest leakage (AUROC, .5 to 1) to accept; else exit code 4.")
]
LabelAwareOption = Annotated[bool, typer.Option("--label-aware", help="minmax only: the filter is told labels.")]
FormOption = Annotated[Literal["linear", "nonlinear"], typer.Option(help="minmax only: the filter's form.")]
Divergence = Literal["l2", "kl", "reverse-kl", "chi-square"]
DivergenceOption = Annotated[
    Divergence, typer.Option(help="minmax only: what --budget bounds; of chi-square ln(1 + it).")
]
Scheme = Literal["dependable", "paper"]
SchemeOption = Annotated[Scheme, typer.Option(help="minmax only: how it is trained; paper: as published.")]
SeedOption = Annotated[int, typer.Option(help="The same seed fits the same filter.")]
ThreadsOption = Annotated[int, typer.Option(help="Threads for encoding and decoding.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Results as JSON on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")]


@app.command()
def privatize(
    paths: Annotated[list[str], typer.Argument(help="Photos, or folders of photos; or one table (CSV) or idx file.")],
    private: PrivateOption = [],  # noqa: B006 - typer reads the default and never changes it
    utility: UtilityOption = [],  # noqa: B006
    bundle: Annotated[
        str | None, typer.Option(help="Encoder bundle: a shipped name, or a folder; faces, or the privatizer's.")
    ] = None,
    method: MethodOption = "flow",
    privatizer: Annotated[Path | None, typer.Option(help="A privatizer from `privsdk fit`.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="New folder, or file for a file; <input>-released beside the input.")
    ] = None,
    faces: Annotated[Faces, typer.Option(help="Release the largest face of a photo, or all.")] = "largest",
    aligned: Annotated[
        bool, typer.Option("--aligned", help="The photos are square faces, aligned by this program already.")
    ] = False,
    labels: Annotated[Path | None, typer.Option(help="CSV: file names, then a column for each label.")] = None,
    names: Annotated[Names, typer.Option(help="Names of the released images.")] = "random",
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Look in folders of folders.")] = False,
    preview: Annotated[Path | None, typer.Option(help="Before/after sheet, for your eyes only.")] = None,
    format: Annotated[Format, typer.Option(help="Format of the released images.")] = "png",
    private_column: Annotated[
        PrivateColumn, typer.Option(help="Of a table: leave a private column out, or draw it from the released row.")
    ] = "drop",
    utility_column: Annotated[
        UtilityColumn, typer.Option(help="Of a table: release a utility column as it is, or leave it out.")
    ] = "keep",
    order: Annotated[Order, typer.Option(help="Of a file: shuffle its samples, or keep their order.")] = "shuffled",
    insist: Annotated[
        bool, typer.Option("--insist", help="Release also what another filter has had, whatever both tell together.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    fairness: FairnessOption = None,
    a: AOption = 1.0,
    rho: RhoOption = 1.0,
    budget: BudgetOption = None,
    max_leakage: MaxLeakageOption = None,
    label_aware: LabelAwareOption = False,
    form: FormOption = "nonlinear",
    divergence: DivergenceOption = "l2",
    scheme: SchemeOption = "dependable",
    seed: SeedOption = 0,
    threads: ThreadsOption = 1,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Release each face in photos as a new, privatized image.

    Or each digit in images or in an idx file (--bundle mnist), or each row of a table (--bundle adult). The private
    label is harder to infer from it, the utility label is not.  A filter is fitted, or the one that was fitted for the
    same wish before is used again.
    """
    with _errors_in_words(), _progress(quiet) as on_progress:
        settings = privsdk.FitSettings(
            method, fairness, a, rho, _number_or_auto(budget), max_leakage, label_aware, form, divergence, scheme, seed
        )
        only_leakage = privsdk.FitSettings(max_leakage=max_leakage)
        if privatizer is not None and (private or utility or settings != only_leakage):
            raise privsdk.UsageError("--privatizer holds its labels and settings already: leave out the others")
        if privatizer is None and not (private and utility):
            raise privsdk.UsageError("say what to hide and what to keep: --private LABEL --utility LABEL")
        chosen = None
        if privatizer is not None:
            named = None if bundle is None else privsdk.Bundle.open(bundle, threads)
            chosen = privsdk.Privatizer.load(privatizer, named, threads)
        opened = chosen.bundle if chosen is not None else privsdk.Bundle.open(bundle or "faces", threads)
        is_one_file = opened.table is not None or any(privsdk.is_idx(path) for path in paths)
        if is_one_file:
            if len(paths) > 1:
                raise privsdk.UsageError("one table, or one idx file, is released at a time: name one")
            if labels or preview or recursive or aligned or (faces, names, format) != ("largest", "random", "png"):
                raise privsdk.UsageError(
                    "--labels, --preview, --recursive, --aligned, --faces, --names and --format are of images: leave "
                    "them out"
                )
            if opened.table is not None and max_leakage is not None and utility_column == "keep":
                raise privsdk.UsageError(
                    "--max-leakage is of the rows alone, and a utility column beside them tells more: add "
                    "--utility-column drop"
                )
            plan = privsdk.Plan((Path(paths[0]),), privsdk.plan_file(paths[0], output))
        else:
            if (private_column, utility_column, order) != ("drop", "keep", "shuffled"):
                raise privsdk.UsageError("--private-column, --utility-column and --order are of a file: leave them out")
            plan = privsdk.plan_release(paths, output, recursive=recursive, preview=preview)
        if chosen is not None:
            if max_leakage is not None:
                chosen.require(max_leakage)
            hidden, kept = chosen.private, chosen.utility
        else:
            hidden, kept = privsdk.check_wish(opened, _split(private), _split(utility), settings)
        if is_one_file:
            # What cannot be read is refused before any work, and by a dry run.
            if opened.table is not None:
                privsdk.read_table(paths[0], opened.table)
            else:
                privsdk.read_idx(paths[0], opened.sample_shape)
            if dry_run:
                _print_plan(plan, opened, as_json)
                return
            chosen = chosen or privsdk.fitted(opened, hidden, kept, settings, on_progress=on_progress)
            if opened.table is not None:
                done = chosen.release_table(
                    paths[0], plan.output, private_column, utility_column, order, on_progress=on_progress, insist=insist
                )
            else:
                done = chosen.release_idx(paths[0], plan.output, order, on_progress=on_progress, insist=insist)
            for refusal in done.refusals:
                _complain(f"refused {refusal}")
            if as_json:
                _print_file(done, chosen)
            elif not quiet:
                _say(_file_in_words(done, chosen))
            if done.refusals:
                raise typer.Exit(1)
            return
        needed = hidden if label_aware or (chosen is not None and chosen.label_aware) else ()
        if needed and labels is None:
            raise privsdk.UsageError("the filter needs the private label of every photo: add --labels FILE.csv")
        table = None if labels is None else privsdk.read_labels(labels, (*hidden, *kept), needed)
        privsdk.labels_of_photos(table or {}, plan.photos, (*hidden, *kept))  # which photo is which, before any work
        if dry_run:
            _print_plan(plan, opened, as_json)
            return
        if chosen is None:
            chosen = privsdk.fitted(opened, hidden, kept, settings, on_progress=on_progress)
        results = chosen.release(
            plan.photos,
            plan.output,
            labels=table,
            faces=faces,
            aligned=aligned,
            names=names,
            on_progress=on_progress,
            format=format,
            preview=preview,
            insist=insist,
        )
        released = [result for result in results if isinstance(result, privsdk.Release)]
        refused = [result for result in results if isinstance(result, privsdk.Refusal)]
        for refusal in refused:
            _complain(f"refused {refusal}")
        if as_json:
            _print_results(plan.output, chosen, released, refused)
        elif not quiet:
            _say(_counted(released, refused, plan.output, {"digits": "digit"}.get(opened.kind, "face")))
            if table is not None:
                labelled = sum(bool(each.labels) for each in released)
                _say(f"Labels stand beside {labelled} of them in {plan.output / 'release.jsonl'}.")
            if preview is not None:
                _say(f"The preview {preview} shows the originals: it is for your eyes only, do not share it.")
            if released:
                _say(_in_words(chosen))
    if refused:
        raise typer.Exit(1)


@app.command()
def fit(
    file: Annotated[Path, typer.Option("-o", "--output", help="The new privatizer file.")],
    private: PrivateOption,
    utility: UtilityOption,
    paths: Annotated[
        list[str], typer.Argument(metavar="[PHOTOS]...", help="Photos of your own to fit to, or folders of photos.")
    ] = [],  # noqa: B006 - as above
    labels: Annotated[
        Path | None, typer.Option(help="CSV of these photos: file names, then a column for each label.")
    ] = None,
    fit_on: Annotated[
        Literal["both", "public", "own"],
        typer.Option(help="With photos: public latents and these, or one of the two alone."),
    ] = "both",
    keep: Annotated[list[str], typer.Option("--keep", help="Further label to keep; as --private.")] = [],  # noqa: B006
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Look in folders of folders.")] = False,
    aligned: Annotated[
        bool, typer.Option("--aligned", help="The photos are square faces, aligned by this program already.")
    ] = False,
    bundle: BundleOption = "faces",
    method: MethodOption = "flow",
    fairness: FairnessOption = None,
    a: AOption = 1.0,
    rho: RhoOption = 1.0,
    budget: BudgetOption = None,
    max_leakage: MaxLeakageOption = None,
    label_aware: LabelAwareOption = False,
    form: FormOption = "nonlinear",
    divergence: DivergenceOption = "l2",
    scheme: SchemeOption = "dependable",
    seed: SeedOption = 0,
    curve: Annotated[
        Path | None, typer.Option(help="New PNG: leakage, utility and distortion along the dials; takes a minute.")
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fit a filter for these labels and save it.

    For `privsdk privatize --privatizer FILE`, which then needs no torch. With photos of your own it is
    fitted to these too, and with --labels to labels that the bundle does not know.
    """
    with _errors_in_words(), _progress(quiet) as on_progress:
        if os.path.lexists(file):
            raise privsdk.OutputExistsError(f"{file} exists already: choose another name, or take it away")
        if not (os.path.isdir(file.parent) and os.access(file.parent, os.W_OK)):
            raise privsdk.UsageError(f"{file} cannot be written: choose a folder that is there and can be written")
        settings = privsdk.FitSettings(
            method, fairness, a, rho, _number_or_auto(budget), max_leakage, label_aware, form, divergence, scheme, seed
        )
        if curve is not None:
            if method != "flow" or paths:
                raise privsdk.UsageError("--curve is of method flow on public latents: leave the photos or --curve out")
            if os.path.realpath(curve) == os.path.realpath(file):
                raise privsdk.UsageError(f"{file} cannot be the privatizer and the curve: name two files")
            privsdk.check_curve(curve)
        opened = privsdk.Bundle.open(bundle)
        if paths:
            _require_faces(opened)
        hidden, kept, more = _split(private), _split(utility), _split(keep)
        named = (*hidden, *kept, *more)
        if labels is not None and not paths:
            raise privsdk.UsageError("--labels are of photos: name the photos, or their folder, too")
        table = {} if labels is None else privsdk.read_labels(labels, named)
        own = {name for row in table.values() for name in row}
        photos = privsdk.photos_in(paths, recursive) if paths else ()
        privsdk.check_wish(opened, hidden, kept, settings, more, own, fit_on, len(photos))  # before any photo is read
        samples, given = None, None
        refused: list[privsdk.Refusal] = []
        if photos:
            samples, given, refused = privsdk.read_labelled_faces(photos, table, named, aligned, on_progress)
            for refusal in refused:
                _complain(f"refused {refusal}")
        privatizer = privsdk.fitted(
            opened,
            hidden,
            kept,
            settings,
            on_progress=on_progress,
            keep=more,
            data=samples,
            labels=given,
            fit_on=fit_on,
        )
        privatizer.save(file)
        if curve is not None:
            chosen = privatizer.record["settings"]
            measured = privsdk.curve(
                opened, hidden, kept, chosen["fairness"], chosen["a"], more, seed, on_progress=on_progress
            )
            privsdk.draw_curve(measured, curve)
        for warning in privatizer.record["check"].get("warnings", ()):
            _complain(f"warning: {warning}")
        if as_json:
            _print_json({"file": str(file), "bundle": privatizer.bundle.digest, "record": privatizer.record})
        elif not quiet:
            _say(f"Saved {file}, fitted in {privatizer.record.get('seconds', 0):.0f} s.")
            if budget == "auto":
                _say("Chosen: fairness {fairness:g}, rho {rho:g}, a {a:g}.".format_map(privatizer.record["settings"]))
            if curve is not None:
                _say(f"The curve is in {curve}.")
            _say(_in_words(privatizer))
    if refused:
        raise typer.Exit(1)


@app.command()
def audit(
    privatizer: Annotated[Path | None, typer.Argument(help="A privatizer from `privsdk fit`.")] = None,
    data: Annotated[
        list[str], typer.Option("--data", metavar="PHOTOS", help="Photos to release and attack, not public latents.")
    ] = [],  # noqa: B006 - as above
    released: Annotated[
        Path | None, typer.Option(metavar="FOLDER|CSV", help="What another tool released, in place of a privatizer.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="CSV: file names, then a column for each label.")] = None,
    people: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of that file that says who is on a photo.")
    ] = None,
    originals: Annotated[Path | None, typer.Option(help="With --released: what it was made of.")] = None,
    private: PrivateOption = [],  # noqa: B006
    utility: UtilityOption = [],  # noqa: B006
    bundle: Annotated[
        str | None, typer.Option(help="Encoder bundle: a shipped name, or a folder; the privatizer's without it.")
    ] = None,
    aligned: Annotated[
        bool, typer.Option("--aligned", help="The photos are square faces, aligned by this program already.")
    ] = False,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Look in folders of folders.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Two attackers and one seed, in seconds.")] = False,
    max_leakage: Annotated[
        float | None, typer.Option(min=0.5, max=1, help="Largest leakage (AUROC) to accept; else exit code 4.")
    ] = None,
    min_utility: Annotated[
        float | None, typer.Option(min=0, max=1, help="Smallest accuracy of a kept label to accept; else exit code 4.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="New HTML file with all of it, for a browser.")] = None,
    no_originals: Annotated[bool, typer.Option("--no-originals", help="No original is shown in that file.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="The same seed finds the same.")] = 0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Attackers that are trained at a time; one for each core.")
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say what attackers trained afresh still tell from releases.

    Of a privatizer, on public latents or on photos of your own (--data, --labels); or of what any tool released
    (--released, --labels, --private, --utility). Where more leaks than --max-leakage, or less is kept than
    --min-utility, the exit code is 4. An audit that was interrupted goes on where it was.
    """
    with _errors_in_words(), _progress(quiet) as on_progress:
        privsdk.check_bounds(max_leakage, min_utility)
        if (privatizer is None) == (released is None):
            raise privsdk.UsageError("name a privatizer, or what another tool released (--released): one of the two")
        if privatizer is not None and (private or utility or originals is not None):
            raise privsdk.UsageError("the privatizer knows its labels and has no originals: leave those options out")
        if released is not None and (data or aligned):
            raise privsdk.UsageError("--data and --aligned are of a privatizer: leave them out with --released")
        if bool(data or released) != (labels is not None):
            raise privsdk.UsageError("--labels are of the photos in --data or of what was --released: give both")
        if people is not None and labels is None:
            raise privsdk.UsageError("--people is a column of --labels: give that file")
        if no_originals and html is None:
            raise privsdk.UsageError("--no-originals is of the HTML file: name one (--html)")
        if html is not None:
            privsdk.check_page(html)
        threads = threads or os.cpu_count() or 1
        if privatizer is not None:
            opened = None if bundle is None else privsdk.Bundle.open(bundle, threads=threads)
            loaded = privsdk.Privatizer.load(privatizer, opened, threads)
        else:
            loaded, opened = None, privsdk.Bundle.open(bundle or "faces", threads=threads)
        given = None
        if labels is not None and loaded is not None:
            _require_faces(loaded.bundle)
            needed = (*loaded.private, *loaded.utility)
            given = privsdk.read_samples_to_audit(data, labels, needed, people, aligned, recursive, on_progress)
        elif labels is not None and released is not None:
            needed = (*_split(private), *_split(utility))
            given = privsdk.read_releases_to_audit(released, labels, needed, people, originals, recursive, on_progress)
        refused = [] if given is None else given.refusals
        for refusal in refused:
            _complain(f"refused {refusal}")
        report = privsdk.audit(
            loaded,
            data=None if given is None or loaded is None else given.samples,
            labels=None if given is None else given.labels,
            people=None if given is None else given.people,
            released=None if given is None or loaded is not None else given.samples,
            originals=None if given is None else given.originals,
            private=_split(private) or None,
            utility=_split(utility) or None,
            bundle=None if loaded is not None else opened,
            quick=quick,
            seed=seed,
            threads=threads,
            on_progress=on_progress,
        )
        if html is not None:
            privsdk.write_page(report.without_originals() if no_originals else report, html)
        if as_json:
            _print_json(report.to_json())
        else:
            _say(report.in_words())
            if html is not None:
                shown = "" if no_originals else " It shows originals: it is for your eyes, do not share it."
                _say(f"All of it is in {html}.{shown if report.pictures is not None else ''}")
        report.require(max_leakage, min_utility)
    if refused:
        raise typer.Exit(1)


@app.command()
def to_onnx(
    privatizer: Annotated[Path, typer.Argument(metavar="PRIVATIZER", help="A file that `privsdk fit` saved.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.onnx", help="Where the graph goes.")],
    bundle: Annotated[
        str | None, typer.Option(help="Its encoder bundle, where it is none that ships: a folder.")
    ] = None,
) -> None:
    """Make one ONNX graph of a privatizer, for hosts without Python: encode, filter, decode.

    It tells the wish, as the privatizer does: keep it on the device.
    """
    with _errors_in_words():
        opened = None if bundle is None else privsdk.Bundle.open(bundle)
        privsdk.Privatizer.load(privatizer, opened).save_onnx(output)
        _say(f"{output}: {output.stat().st_size:,} bytes; docs/hosts.md has hosts that run it.")


@app.command()
def bundles(as_json: JsonOption = False) -> None:
    """List the encoder bundles that ship, and their figures."""
    with _errors_in_words():
        found = [_described(privsdk.Bundle.open(name)) for name in privsdk.bundles()]
        if as_json:
            _print_json(found)
            return
        for entry in found:
            _say(f"{entry['name']}  ({entry['kind']}, digest {entry['digest'][:12]})")
            _say(f"  terms: {entry['terms']}")
            for name, value in entry["quality"].items():
                _say(f"  {name}: {value if not isinstance(value, dict) else json.dumps(value)}")
            _say("  attributes, and the share of people who have them:")
            for name, rate in entry["attributes"].items():
                _say(f"    {name} {rate:.2f}")
        if not found:
            _say("no bundle ships with this installation")


@app.command()
def verify(
    checked: Annotated[
        str, typer.Argument(metavar="BUNDLE|PRIVATIZER", help="A shipped name, a folder, or a privatizer file.")
    ],
    public_key: Annotated[
        Path | None, typer.Option(metavar="FILE.pem", help="Ed25519 key by which it must be signed; else exit code 3.")
    ] = None,
    bundle: Annotated[
        str | None, typer.Option(help="Of a privatizer, its encoder bundle: a shipped name, or a folder.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check that an encoder bundle, or a privatizer, is whole and works; and who signed it.

    Of a bundle every file is compared with the manifest, and every part is tried.
    """
    with _errors_in_words():
        if public_key is not None:
            privsdk.check_signature(checked, public_key)
        if privsdk.is_privatizer_file(checked):
            opened = privsdk.Privatizer.load(checked, None if bundle is None else privsdk.Bundle.open(bundle)).bundle
            found, said = {"privatizer": checked}, f"{checked} is whole and works with {opened.name}"
        elif bundle is not None:
            raise privsdk.UsageError(f"--bundle is of a privatizer file, and {checked} is none: leave it out")
        else:
            opened = privsdk.Bundle.open(checked)
            opened.verify()
            found, said = {}, f"{opened.name} is whole and works"
        signature = "none" if not privsdk.is_signed(checked) else "not checked" if public_key is None else "valid"
        if as_json:
            found |= {"bundle": opened.name, "digest": opened.digest, "signature": signature}
            _print_json({**found, "valid": True})
        else:
            _say(f"{said} (digest {opened.digest})")
            if signature == "valid":
                _say(f"It is signed with the key of {public_key}.")
            if signature == "not checked":
                _say("It is signed; by whom was not checked: give --public-key FILE.pem.")


key_app = typer.Typer(help="The device key, which all random choices of a release come from.", no_args_is_help=True)
app.add_typer(key_app, name="key")


@key_app.command("show")
def key_show(as_json: JsonOption = False) -> None:
    """Tell the key by its fingerprint, which says nothing of it; it is made where there is none."""
    with _errors_in_words():
        fingerprint, path = privsdk.key_fingerprint(privsdk.device_key()), privsdk.key_path()
        if as_json:
            _print_json({"fingerprint": fingerprint, "path": str(path)})
        else:
            _say(f"{fingerprint}  ({path})")


@key_app.command("path")
def key_path() -> None:
    """Say where the key is: copy the file to keep it, and to nobody."""
    with _errors_in_words():
        _say(str(privsdk.key_path()))


@key_app.command("rotate")
def key_rotate(
    yes: Annotated[bool, typer.Option("--yes", help="Do it: what was released before can get other noise.")] = False,
) -> None:
    """Make a new key in place of the old one, which is lost.

    The ledger then knows nothing of earlier releases: a photo that is released again gets other noise, and whoever has
    both releases can tell what they have in common.
    """
    with _errors_in_words():
        if not yes:
            raise privsdk.UsageError(
                "with a new key a photo that was released before would be released with other noise, and both together "
                "tell more: say --yes if that is wanted"
            )
        _say(f"The new key is {privsdk.rotate_key()}.")


@app.command()
def bench(
    bundle: BundleOption = "faces",
    threads: Annotated[int | None, typer.Option(help="Measure with this many threads, not with 1 and all.")] = None,
    photo: Annotated[Path | None, typer.Option(help="Photo of a face; one is made without it.")] = None,
    against: Annotated[Path | None, typer.Option(help="Earlier --json of this processor, to compare with.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure how long everything takes on this machine."""
    with _errors_in_words():
        measured = privsdk.measure(bundle, threads, photo, against)
        if as_json:
            _print_json(measured)
        else:
            _say(privsdk.measured_text(measured))


def main() -> None:
    """Run the command line, and leave with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A file name may hold what the terminal's encoding cannot show; that is no reason to fail.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    app()


@contextmanager
def _errors_in_words() -> Iterator[None]:
    """Every error that a user can meet is one line on stderr, and its exit code."""
    try:
        yield
    except privsdk.PrivsdkError as error:
        _complain(f"privsdk: {error}")
        raise typer.Exit(error.exit_code) from error
    except BrokenPipeError:
        raise  # whoever read the output has stopped; that ends quietly
    except OSError as error:
        _complain(f"privsdk: {error}")
        raise typer.Exit(2) from error
    except KeyboardInterrupt as error:
        _complain("privsdk: interrupted; what was released before stays, and the same command goes on")
        raise typer.Exit(130) from error


@contextmanager
def _progress(quiet: bool) -> Iterator[privsdk.ProgressText | None]:
    if quiet:
        yield None
        return
    shown = privsdk.ProgressText()
    try:
        yield shown
    finally:
        shown.close()


def _require_faces(bundle: privsdk.Bundle) -> None:
    if bundle.kind in ("digits", "table", "images"):
        raise privsdk.UsageError(
            f"the bundle {bundle.name} is not for faces, and only photos of faces are read here: hand own samples over "
            "in Python (data=)"
        )


def _number_or_auto(text: str | None) -> float | Literal["auto"] | None:
    if text is None:
        return None
    if text == "auto":
        return "auto"
    try:
        return float(text)
    except ValueError as error:
        raise privsdk.UsageError(f"--budget is {text!r}: it is a number above 0, or auto") from error


def _split(names: Sequence[str]) -> list[str]:
    """Names given several times, or several with commas."""
    return [name.strip() for given in names for name in given.split(",") if name.strip()]


def _say(text: str) -> None:
    _print(_printable(text))


def _complain(text: str) -> None:
    """One line on stderr, where somebody can read it: what is said there changes nothing of the outcome."""
    if sys.stderr is not None:
        with suppress(OSError):
            typer.echo(_printable(text).replace("\n", " "), err=True)


def _printable(text: str) -> str:
    """What a file's name could do to a terminal is taken out."""
    return "".join(character if character.isprintable() or character == "\n" else "?" for character in text)


def _print_json(value: Any) -> None:
    _print(json.dumps(value, indent=2))


def _print(text: str) -> None:
    try:
        typer.echo(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise privsdk.UsageError(
            f"the result cannot be printed ({error.strerror}); what was written stays: print to another place"
        ) from error


def _print_plan(plan: privsdk.Plan, bundle: privsdk.Bundle, as_json: bool) -> None:
    if as_json:
        photos = [str(photo) for photo in plan.photos]
        _print_json({"photos": photos, "output": str(plan.output), "bundle": bundle.digest})
        return
    for photo in plan.photos:
        _say(str(photo))
    _say(f"{_count(len(plan.photos), 'file')} would be released to {plan.output}; nothing was done.")


def _print_results(
    output: Path,
    privatizer: privsdk.Privatizer,
    released: Sequence[privsdk.Release],
    refused: Sequence[privsdk.Refusal],
) -> None:
    _print_json(
        {
            "output": str(output),
            "released": [
                {
                    "source": each.source,
                    "face": each.face,
                    "file": str(each.path),
                    "labels": dict(each.labels),
                }
                for each in released
            ],
            "refused": _reasons(refused),
            "bundle": privatizer.bundle.digest,
            "record": privatizer.record,
        }
    )


def _print_file(done: privsdk.FileRelease, privatizer: privsdk.Privatizer) -> None:
    _print_json(
        {
            "output": str(done.path),
            "released": done.samples,
            "left_out": list(done.left_out),
            "as_given": list(done.as_given),
            "refused": _reasons(done.refusals),
            "bundle": privatizer.bundle.digest,
            "record": privatizer.record,
        }
    )


def _reasons(refused: Sequence[privsdk.Refusal]) -> list[dict[str, str]]:
    return [{"source": each.source, "reason": each.reason, "detail": each.detail} for each in refused]


def _file_in_words(done: privsdk.FileRelease, privatizer: privsdk.Privatizer) -> str:
    noun = "digit" if privatizer.bundle.table is None else "row"
    text = f"{_count(done.samples, noun)} released to {done.path}."
    if done.left_out:
        text += f" Left out: {', '.join(done.left_out)}."
    text += _refused_in_words(done.refusals, noun)
    if done.as_given:
        text += (
            f"\nAs it was given: {', '.join(done.as_given)}. What that tells beside the rows is not in what follows."
        )
    return f"{text}\n{_in_words(privatizer)}"


def _counted(released: Sequence[privsdk.Release], refused: Sequence[privsdk.Refusal], output: Path, noun: str) -> str:
    return f"{_count(len(released), noun)} released to {output}.{_refused_in_words(refused, 'photo')}"


def _refused_in_words(refused: Sequence[privsdk.Refusal], noun: str) -> str:
    if not refused:
        return ""
    reasons = Counter(refusal.reason for refusal in refused)
    named = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    return f" {_count(len(refused), noun)} refused: {named}."


def _in_words(privatizer: privsdk.Privatizer) -> str:
    """What fresh attackers found when the filter was fitted."""
    check: Mapping[str, Any] = privatizer.record["check"]
    lines = [
        f"What a freshly trained attacker still infers (method {privatizer.method}; measured on "
        f"{check['measured_on']}, the first figure with the gap to real samples added):"
    ]
    for label, found in check["private"].items():
        of_a_hundred = f"{100 * (found['leakage'] + found['gap']):.0f} times in 100 (guessing: 50)"
        if found["leakage"] + found["gap"] >= 1:
            of_a_hundred = f"{100 * found['leakage']:.0f} times in 100, and on real samples nobody knows how often"
        named = (
            f"It names {100 * found['accuracy']:.0f}% rightly; always naming the commonest kind: "
            f"{100 * found['base_rate']:.0f}%."
        )
        if label in privatizer.bundle.groups:
            kinds = "one of the class that it tells best and one of another"
            lines.append(
                f"  {label}, hidden: of two releases, {kinds}, it tells which is which {of_a_hundred}. {named}"
            )
        elif label in privatizer.private:
            lines.append(
                f"  {label}, hidden: of two releases, one of each kind, it tells which is which {of_a_hundred}. {named}"
            )
        else:
            lines.append(f"  {label}: it tells such a release from another {of_a_hundred}.")
    for label, found in check.get("own_samples", {}).items():
        if label in check["private"]:
            told = f"{100 * found['leakage']:.0f} times in 100 ({100 * found['auroc_unfiltered']:.0f} unfiltered)"
            lines.append(
                f"  {label}, on {found['samples']} own samples, by filters that had not seen them: {told}, "
                f"give or take {200 * found['standard_error']:.0f}."
            )
    for label, found in check["utility"].items():
        lines.append(
            f"  {label}, kept: it names {100 * found['accuracy']:.1f}% rightly "
            f"({100 * found['accuracy_unfiltered']:.1f}% unfiltered)."
        )
    return "\n".join(lines)


def _described(bundle: privsdk.Bundle) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "kind": bundle.kind,
        "digest": bundle.digest,
        "terms": bundle.terms,
        "quality": bundle.quality,
        "attributes": bundle.base_rates,
    }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
