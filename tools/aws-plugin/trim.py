#!/usr/bin/env python3
"""Copy the Terraform AWS provider and Pulumi's bridge out of the Go module cache, keeping what this project can use.

The whole provider takes over an hour and 30 GB to compile; the services in SERVICES take minutes. A service is kept
with every sibling it imports and every sibling whose AWS client it uses (an Auto Scaling group asks the classic load
balancer's).

usage: trim.py PROVIDER_DIR BRIDGE_DIR OUT_DIR        writes OUT_DIR/aws and OUT_DIR/bridge, which go.mod names
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

SERVICES = (
    "autoscaling", "budgets", "cloudwatch", "dlm", "ec2", "elbv2", "iam", "kms", "logs", "meta", "route53", "s3",
    "secretsmanager", "sns", "ssm", "sts",
)  # fmt: skip
SERVICE_IMPORT = "github.com/hashicorp/terraform-provider-aws/internal/service/"
NOT_COMPILED = re.compile(
    r"(^|/)(testdata|test-fixtures)/|_test\.go$|/sweep\.go$|^internal/(acctest|generate|sweep)/|^names/generate/"
)
BRIDGE_GENERATOR = re.compile(r"pkg/(tfgen|pf/tfgen|pf/tests|tests|tf2pulumi|internal/tests)/")
# The one file of the bridge's run time that pulls in all of its code generator.
BRIDGE_GENERATOR_ENTRY = "pkg/pf/tfbridge/provider_mux.go"

# A resource that is gone is answered with a null state, and by some resources also with a complaint about the identity
# that the bridge did not pass (hashicorp/terraform-provider-aws#45303). Terraform's own core would have passed it;
# without this, a security-group rule revoked by hand makes `pulumi refresh` fail where it should plan a new one.
READ_DIAGNOSTICS = """	if err := p.processDiagnostics(ctx, resp.Diagnostics); err != nil {
		return plugin.ReadResult{}, nil, err
	}

	if resp.NewState == nil {"""
READ_CURE_CALL = """	if gone, err := isGone(rh, resp.NewState); err != nil {
		return plugin.ReadResult{}, nil, err
	} else if gone {
		resp.Diagnostics = withoutMissingIdentity(resp.Diagnostics)
	}

"""
READ_CURE = """package tfbridge

import (
	"context"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
)

// isGone says whether a read found that the resource no longer exists.
func isGone(rh *resourceHandle, state *tfprotov6.DynamicValue) (bool, error) {
	if state == nil {
		return true, nil
	}
	value, err := state.Unmarshal(rh.schema.Type(context.Background()))
	return err == nil && value.IsNull(), err
}

// withoutMissingIdentity drops the complaint that a read returned no identity: what is gone has none.
func withoutMissingIdentity(all []*tfprotov6.Diagnostic) []*tfprotov6.Diagnostic {
	var kept []*tfprotov6.Diagnostic
	for _, d := range all {
		if d.Summary != "Missing Resource Identity After Read" {
			kept = append(kept, d)
		}
	}
	return kept
}
"""


def main(provider: Path, bridge: Path, out: Path) -> None:
    """Fill `out` anew. Raises OSError and, when upstream's files do not look as expected, ValueError."""
    shutil.rmtree(out, ignore_errors=True)
    kept = closure(provider, SERVICES)
    copy_provider(provider, out / "aws", kept)
    prune_generated_lists(out / "aws", kept)
    copy_bridge(bridge, out / "bridge")
    cure_reading_what_is_gone(out / "bridge" / "pkg/pf/tfbridge")
    print(f"kept {len(kept)} services: {' '.join(sorted(kept))}")


def closure(provider: Path, services: Iterable[str]) -> set[str]:
    """The services, with all that they import and all whose AWS clients they use."""
    service_of_name = {
        match[1]: file.parent.name
        for file in provider.glob("internal/service/*/service_package_gen.go")
        if (match := re.search(r"ServicePackageName\(\) string {\s*return names\.(\w+)", file.read_text()))
    }
    clients = re.findall(
        r"\) (\w+Client)\(.*\n.*, names\.(\w+),", (provider / "internal/conns/awsclient_gen.go").read_text()
    )
    service_of_client = {client: service_of_name.get(name) for client, name in clients}
    kept: set[str] = set()
    todo = list(services)
    while todo:
        service = todo.pop()
        if service in kept:
            continue
        kept.add(service)
        for file in (provider / "internal/service" / service).rglob("*.go"):
            if NOT_COMPILED.search("/" + file.name):
                continue
            text = file.read_text()
            todo += re.findall(rf'"{SERVICE_IMPORT}(\w+)', text)
            todo += [owner for use in re.findall(r"\.(\w+Client)\(ctx", text) if (owner := service_of_client.get(use))]
    return kept


def copy_provider(provider: Path, out: Path, kept: set[str]) -> None:
    """Copy the provider's files that are compiled, less the services that are not kept."""
    for file in provider.rglob("*"):
        name = file.relative_to(provider).as_posix()
        parts = name.split("/")
        if not file.is_file() or NOT_COMPILED.search(name):
            continue
        if name != "go.mod" and parts[0] not in ("internal", "names", "version", "xpprovider"):
            continue
        if parts[:2] == ["internal", "service"] and len(parts) > 3 and parts[2] not in kept:
            continue
        copy(file, out / name)


def prune_generated_lists(aws: Path, kept: set[str]) -> None:
    """Take what is not kept out of the three generated files that name every service."""
    clients_file = aws / "internal/conns/awsclient_gen.go"
    used_clients = set(re.findall(r"\.(\w+Client)\(ctx", source_of(aws, without=clients_file)))
    prune(
        clients_file,
        re.compile(r"^func \(c \*AWSClient\) (\w+)\(.*?^}\n\n?", re.M | re.S),
        lambda function: function in used_clients,
        r"github.com/aws/aws-sdk-go-v2/service/\w+",
    )
    prune(
        aws / "internal/provider/sdkv2/service_packages_gen.go",
        re.compile(r"^\t\t(\w+)\.ServicePackage\(ctx\),\n", re.M),
        lambda service: service in kept,
        SERVICE_IMPORT + r"\w+",
    )
    filters_file = aws / "internal/namevaluesfilters/service_filters_gen.go"
    users = source_of(aws, without=filters_file)
    prune(
        filters_file,
        re.compile(r"^(?://[^\n]*\n)*func \([^)]*\) (\w+)\(.*?^}\n\n?", re.M | re.S),
        lambda converter: converter + "()" in users,
        r"github.com/aws/aws-sdk-go-v2/(?:aws|service/\w+/types)",
    )


def source_of(folder: Path, without: Path) -> str:
    """All Go code under `folder` but for one file."""
    return "\n".join(file.read_text() for file in folder.rglob("*.go") if file != without)


def prune(file: Path, item: re.Pattern[str], is_kept: Callable[[str], bool], imports: str) -> None:
    """Remove the items of a Go file that are not kept, then those of the given imports that nothing uses any more."""
    text, found = item.subn(lambda match: match[0] if is_kept(match[1]) else "", file.read_text())
    if not found:
        raise ValueError(f"{file}: nothing looks like {item.pattern!r}; has the provider's source changed?")
    body = text.split("\n)\n", 1)[1]

    def used_import(match: re.Match[str]) -> str:
        package = match[1] or match[2].rsplit("/", 1)[1]
        return match[0] if re.search(rf"\b{package}\.", body) else ""

    file.write_text(re.sub(rf'^\t(?:(\w+) )?"({imports})"\n', used_import, text, flags=re.M))


def copy_bridge(bridge: Path, out: Path) -> None:
    """Copy the bridge's run time, without its code generator and tests."""
    for file in bridge.rglob("*"):
        name = file.relative_to(bridge).as_posix()
        if not file.is_file() or NOT_COMPILED.search(name):
            continue
        if BRIDGE_GENERATOR.match(name) or name == BRIDGE_GENERATOR_ENTRY:
            continue
        if name == "go.mod" or re.match(r"(pkg|internal|unstable)/", name):
            copy(file, out / name)


def cure_reading_what_is_gone(tfbridge: Path) -> None:
    """Have the bridge's read overlook a missing identity when the resource is gone."""
    file = tfbridge / "provider_read.go"
    text = file.read_text()
    if text.count(READ_DIAGNOSTICS) != 1:
        raise ValueError(f"{file}: does not contain the expected call of processDiagnostics; has the bridge changed?")
    file.write_text(text.replace(READ_DIAGNOSTICS, READ_CURE_CALL + READ_DIAGNOSTICS))
    (tfbridge / "provider_read_gone.go").write_text(READ_CURE)


def copy(source: Path, target: Path) -> None:
    """Copy one file's content; the module cache's are read-only, the copy is not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
