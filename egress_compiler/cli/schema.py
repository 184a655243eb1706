"""``schema``: the JSON Schemas of the input, for editors and reviewers, and the CRDs made from them."""

from __future__ import annotations

import json

import click
import yaml

from egress_compiler.diagnostics import nearest
from egress_compiler.validate.crds import crds
from egress_compiler.validate.schemas import KINDS, NAMES, self_contained


@click.command("schema")
@click.argument("name", required=False)
@click.option("--crds", "as_crds", is_flag=True, help="CustomResourceDefinitions for the API server, as YAML.")
@click.option("--without-cel", is_flag=True, help="With --crds: no validation rules, for Kubernetes before 1.31.")
def schema_command(name: str | None, as_crds: bool, without_cel: bool) -> None:
    """Print the JSON Schema NAME: a kind, settings or lock. Without a name, list them.

    For an editor: write it to a file, and put '# yaml-language-server: $schema=FILE' on top of the YAML.
    """
    if as_crds:
        if name is not None:
            raise click.UsageError("--crds prints all CRDs and takes no name")
        texts = (yaml.safe_dump(crd, sort_keys=False, width=1_000_000) for crd in crds(with_rules=not without_cel))
        click.echo("".join(f"---\n{text}" for text in texts), nl=False)
        return
    if without_cel:
        raise click.UsageError("--without-cel goes with --crds")
    if name is None:
        click.echo("\n".join([*KINDS, *(known for known in NAMES if known not in KINDS.values())]))
        return
    by_name = {known.lower(): known for known in NAMES}
    if name.lower() not in by_name:
        guess = nearest(name.lower(), by_name) or f"there are {', '.join(NAMES)}"
        raise click.UsageError(f"there is no schema {name!r}; {guess}")
    click.echo(json.dumps(self_contained(by_name[name.lower()]), indent=2))
