"""Root file systems of the lab's hosts, built from the machine's own Debian archive and kept in the cache.

    python -m lab.images --list          what there is
    python -m lab.images debian-13       build if missing; print the path
    python -m lab.images --prune         remove trees that no recipe and no mount refers to

A recipe is a folder `lab/image/<name>/` with a `recipe.toml`; its tree is `<cache>/images/<name>-<key>/`, where the key
is a hash of all that the recipe says. What the archive holds that day is not part of the key: a tree stays as built.
A recipe with `unpack` is no system: its tree holds those packages' files alone, for this machine to run. A recipe with
`jars` has Java packages from Maven in that folder of the image, as its `jars.txt` lists them (`lab/jars.py`).
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence

RECIPES = pathlib.Path(__file__).resolve().parent / "image"
"""A folder for each image, and the scripts that build and run them."""

JARS = pathlib.Path(__file__).resolve().with_name("jars.py")
"""The program that fetches a recipe's jars; a build runs it as it runs the scripts."""

BUILD_NEEDS_BYTES = 1_500_000_000
"""Free space asked for before a build: a tree is 300-400 MB, with packages being unpacked about three times that."""

COPY_FAILED = 125
"""Exit status of run.sh when it could not start the command; of a command itself by convention never seen."""

MIRROR_VARIABLE = "ANTMEDIA_DEBIAN_MIRROR"
DEBIAN_SUITE = re.compile(
    r"(oldoldstable|oldstable|stable|testing|unstable|sid|bullseye|bookworm|trixie|forky|duke)(/updates|-security)?"
)
UNREACHABLE = re.compile(
    r"Temporary failure resolving|Could not resolve|Could not connect|Unable to connect|Connection timed out|"
    r"Failed getting release file|Couldn't download|Failed to fetch|Invalid Release file|404\s+Not Found"
)


class ImageError(Exception):
    """An image could not be built or used; the message is one sentence for a person."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What one image is made of, read from `recipe.toml`."""

    name: str
    folder: pathlib.Path
    description: str
    suite: str | None
    parent: str | None
    packages: tuple[str, ...]
    unpack: tuple[str, ...]
    """Packages whose files are all that the tree has."""
    jars: str | None
    """Folder in the image for the jars of the recipe's lock."""
    files: Mapping[str, str]
    amis: tuple[str, ...]

    @property
    def jar_lock(self) -> pathlib.Path:
        """Which jars there are, with their sums."""
        return self.folder / "jars.txt"

    @property
    def setup(self) -> pathlib.Path | None:
        """The script that runs in the image last, if the recipe has one."""
        path = self.folder / "setup.sh"
        return path if path.exists() else None

    def sources(self) -> Iterator[tuple[str, pathlib.Path]]:
        """Absolute path in the image and file of the recipe, in a fixed order."""
        for target, source in sorted(self.files.items()):
            yield target, self.folder / source


@dataclasses.dataclass(frozen=True)
class Archive:
    """Where Debian packages come from: URLs of the main and the security archive, and the keyring that signs them."""

    main: str
    security: str
    keyring: pathlib.Path


def cache_root() -> pathlib.Path:
    """The folder that holds what can be built again: `$ANTMEDIA_CACHE`, else `antmedia` in the user's cache folder."""
    if explicit := os.environ.get("ANTMEDIA_CACHE"):
        return pathlib.Path(explicit)
    base = os.environ.get("XDG_CACHE_HOME") or str(pathlib.Path.home() / ".cache")
    return pathlib.Path(base) / "antmedia"


def names() -> list[str]:
    """Every image that has a recipe, by name."""
    return sorted(path.parent.name for path in RECIPES.glob("*/recipe.toml"))


def recipe(name: str) -> Recipe:
    """The recipe of an image. Raises ImageError for a name or a recipe that does not exist or does not fit."""
    folder = RECIPES / name
    try:
        raw = tomllib.loads((folder / "recipe.toml").read_text())
    except FileNotFoundError:
        raise ImageError(f"there is no image named {name!r}: use one of {', '.join(names())}") from None
    unknown = set(raw) - {"description", "suite", "parent", "packages", "unpack", "jars", "files", "amis"}
    if unknown or ("suite" in raw) == ("parent" in raw):
        raise ImageError(
            f"{folder}/recipe.toml must have either suite or parent, and may have description, packages, jars, files"
            + (f" (not {', '.join(sorted(unknown))})" if unknown else "")
        )
    if "unpack" in raw and ("suite" in raw or set(raw) & {"packages", "jars", "files"}):
        raise ImageError(
            f"{folder}/recipe.toml with unpack must have a parent (its apt is used), no packages, no jars and no files"
        )
    found = Recipe(
        name=name,
        folder=folder,
        description=raw.get("description", ""),
        suite=raw.get("suite"),
        parent=raw.get("parent"),
        packages=tuple(sorted(raw.get("packages", []))),
        unpack=tuple(sorted(raw.get("unpack", []))),
        jars=raw.get("jars"),
        files=raw.get("files", {}),
        amis=tuple(raw.get("amis", [])),
    )
    for target, source in found.sources():
        if not target.startswith("/") or not source.is_file():
            raise ImageError(
                f"{folder}/recipe.toml puts {source.name} at {target}: that file must exist and that path be absolute"
            )
    if found.jars and not (found.jars.startswith("/") and found.jar_lock.is_file()):
        raise ImageError(
            f"{folder}/recipe.toml puts jars at {found.jars}: that path must be absolute, and jars.txt exist "
            f"(python -m lab.jars lock {name})"
        )
    return found


def key(name: str) -> str:
    """Twelve hex digits that change exactly when something changes that goes into the image."""
    what = recipe(name)
    digest = hashlib.sha256()

    def add(*parts: str | bytes) -> None:
        for part in parts:
            data = part.encode() if isinstance(part, str) else part
            digest.update(len(data).to_bytes(8, "big") + data)

    add((RECIPES / "build.sh").read_bytes(), what.suite or "", key(what.parent) if what.parent else "")
    add(str(len(what.packages)), *what.packages)
    for target, source in what.sources():
        add(target, "executable" if os.access(source, os.X_OK) else "plain", source.read_bytes())
    if what.unpack:
        add("unpack", (RECIPES / "unpack.sh").read_bytes(), *what.unpack)
    if what.jars:
        add("jars", what.jars, JARS.read_bytes(), what.jar_lock.read_bytes())
    if what.setup:
        add("setup", what.setup.read_bytes())
    return digest.hexdigest()[:12]


def path(name: str) -> pathlib.Path:
    """Where the image's tree is or would be; builds nothing."""
    return cache_root() / "images" / f"{name}-{key(name)}"


def for_ami(ami_id: str) -> str:
    """The image that an AMI id stands for. Raises ImageError for an id that the lab does not have."""
    by_ami = {ami: name for name in names() for ami in recipe(name).amis}
    try:
        return by_ami[ami_id]
    except KeyError:
        known = ", ".join(f"{ami} ({name})" for ami, name in sorted(by_ami.items()))
        raise ImageError(f"the lab has no image for {ami_id}: use one of {known}") from None


def ensure(name: str) -> pathlib.Path:
    """The root tree of an image, built first if it is not there; to be used as a read-only lower layer.

    Safe to call from many processes at once: one builds, the others wait. A build that is killed leaves a temporary
    folder that the next build of the same image removes. Raises ImageError when it cannot be built.
    """
    final = path(name)
    if final.is_dir():
        return final
    _check_machine(final.parent, recipe(name))
    with _lock(name, final.parent) as lock:
        if not final.is_dir():
            for left in final.parent.glob(f".{name}-*.building"):
                shutil.rmtree(left)
            _build(recipe(name), final, lock)
    return final


def run(
    name: str,
    argv: Sequence[str],
    stdin: str | None = None,
    binds: Mapping[pathlib.Path, str] | None = None,
    timeout_seconds: float = 300,
) -> subprocess.CompletedProcess[str]:
    """Runs a command as root in a throw-away copy of an image, without network, and returns its text output.

    `binds` maps files or folders of this machine to absolute paths in the image, where they are seen read-only. Nothing
    of what the command writes stays. Raises ImageError when the image cannot be built or entered, and
    subprocess.TimeoutExpired when the command takes longer than `timeout_seconds`; every process it started has ended
    either way.
    """
    tree = ensure(name)
    if os.geteuid() != 0:
        raise ImageError(f"only root can run {argv[0]} in image {name}: run the command with sudo")
    pairs = [text for source, target in (binds or {}).items() for text in (str(source), target)]
    missing = [source for source in pairs[::2] if not pathlib.Path(source).exists()]
    if missing:
        raise ImageError(f"cannot show {missing[0]} to image {name}: there is no such file")
    command = [*_contained("--net"), str(RECIPES / "run.sh"), str(tree), *pairs, "--", *argv]
    done = subprocess.run(
        command, input=stdin or "", capture_output=True, text=True, timeout=timeout_seconds, check=False
    )
    if done.returncode == COPY_FAILED:
        raise ImageError(f"image {name} cannot be entered: {done.stderr.strip().splitlines()[-1]}")
    return done


def prune() -> list[pathlib.Path]:
    """Removes trees of older recipes that no overlay mount of this machine uses; returns what was removed."""
    images = cache_root() / "images"
    mounts = pathlib.Path("/proc/mounts").read_text()
    current = {path(name) for name in names()}
    removed = []
    for name in names():
        for tree in sorted(images.glob(f"{name}-*")):
            of_this_image = re.fullmatch(re.escape(name) + r"-[0-9a-f]{12}(\.log)?", tree.name)
            if not of_this_image or tree in current or str(tree) in mounts:
                continue
            with _lock(name, images):
                shutil.rmtree(tree) if tree.is_dir() else tree.unlink()
            removed.append(tree)
    return removed


def debian_archive(
    environment: Mapping[str, str] = os.environ, apt: pathlib.Path = pathlib.Path("/etc/apt")
) -> Archive:
    """The Debian archive that this machine's apt uses, or the one that $ANTMEDIA_DEBIAN_MIRROR names."""
    main = security = keyring = ""
    for uri, suites, signed_by in _apt_sources(apt):
        for suite in suites:
            if match := DEBIAN_SUITE.fullmatch(suite):
                if match[2]:
                    security = security or uri
                elif not main:
                    main, keyring = uri, signed_by
    if override := environment.get(MIRROR_VARIABLE):
        main, security = override, override.rstrip("/").removesuffix("/debian") + "/debian-security"
    if not main:
        raise ImageError(
            f"this machine's apt sources name no Debian archive to build images from: set {MIRROR_VARIABLE} to a URL"
        )
    default = pathlib.Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    named = pathlib.Path(keyring) if keyring.startswith("/") else default
    return Archive(main.rstrip("/"), (security or main + "-security").rstrip("/"), named if named.exists() else default)


def _apt_sources(apt: pathlib.Path) -> Iterator[tuple[str, list[str], str]]:
    """(URI, suites, Signed-By) of every source of binary packages, in both of apt's formats."""
    for file in sorted((apt / "sources.list.d").glob("*.sources")):
        for stanza in re.split(r"\n\s*\n", file.read_text()):
            lines = [line for line in stanza.splitlines() if not line.startswith("#")]
            fields = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines) if v}
            if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes") != "no":
                for uri in fields.get("uris", "").split():
                    yield uri, fields.get("suites", "").split(), fields.get("signed-by", "")
    for file in (apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.list"))):
        if file.exists():
            for match in re.finditer(r"^deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)", file.read_text(), re.MULTILINE):
                signed = re.search(r"signed-by=(\S+)", match[1] or "")
                yield match[2], [match[3]], signed[1] if signed else ""


def _check_machine(images: pathlib.Path, what: Recipe) -> None:
    if os.geteuid() != 0:
        raise ImageError("the lab's images can only be built by root: run the command with sudo")
    for program, package in {
        "debootstrap": "debootstrap",
        "unshare": "util-linux",
        "setpriv": "util-linux",
        "chroot": "coreutils",
        **({"mvn": "maven"} if what.jars else {}),
    }.items():
        if not shutil.which(program):
            raise ImageError(f"the program {program} is missing: install it with `apt-get install {package}`")
    try:
        images.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"the image cache {images} cannot be made ({error.strerror}): set ANTMEDIA_CACHE") from None
    free = shutil.disk_usage(images).free
    if free < BUILD_NEEDS_BYTES:
        raise ImageError(
            f"{images} has {free // 10**6} MB free and the build of an image needs {BUILD_NEEDS_BYTES // 10**6} MB: "
            "make room or set ANTMEDIA_CACHE to a larger disk"
        )


@contextlib.contextmanager
def _lock(name: str, images: pathlib.Path) -> Iterator[int]:
    """Holds the build lock of one image; gives its descriptor, which a build passes on to what it starts."""
    with (images / f".{name}.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(name, "waiting for another build of it", 0)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def _build(what: Recipe, final: pathlib.Path, lock: int) -> None:
    parent = ensure(what.parent) if what.parent else None
    started = time.monotonic()
    script, unpack = str(RECIPES / "build.sh"), str(RECIPES / "unpack.sh")
    log_path = final.with_name(final.name + ".log")
    building = pathlib.Path(tempfile.mkdtemp(prefix=f".{what.name}-", suffix=".building", dir=final.parent))
    tree = building / "root"
    try:
        with log_path.open("wb") as log:

            def step(text: str, *command: str) -> None:
                _say(what.name, text, time.monotonic() - started)
                _step(what.name, command, log_path, log.fileno(), lock)

            if parent and what.unpack:
                step(f"{len(what.unpack)} packages unpacked", unpack, str(tree), str(parent), *what.unpack)
            elif parent:
                step(f"copying {what.parent}", "cp", "--archive", "--reflink=auto", str(parent), str(tree))
            else:
                step(f"minimal Debian {what.suite}", script, "bootstrap", str(tree))
            if what.packages:
                step(f"{len(what.packages)} packages", script, "packages", str(tree), *what.packages)
            if what.jars:
                folder = str(tree / what.jars.lstrip("/"))
                step("jars", sys.executable, str(JARS), "fetch", str(what.jar_lock), folder)
            for target, source in what.sources():
                destination = tree / target.lstrip("/")
                destination.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, destination)
                destination.chmod(0o755 if os.access(source, os.X_OK) else 0o644)
            if not what.unpack:
                step("setting up", script, "finish", str(tree), *([str(what.setup)] if what.setup else []))
        tree.chmod(0o755)
        os.sync()  # a tree that has its name is whole, also after a power cut
        tree.rename(final)
        log_path.unlink()
    except OSError as error:
        raise ImageError(f"image {what.name} could not be built: {error.strerror} ({error.filename})") from None
    finally:
        shutil.rmtree(building, ignore_errors=True)
    _say(what.name, "ready", time.monotonic() - started)


def _step(name: str, command: Sequence[str], log_path: pathlib.Path, log: int, lock: int) -> None:
    archive, what = debian_archive(), recipe(name)
    environment = {
        **{k: os.environ[k] for k in ("HOME", "LANG") if k in os.environ},
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "SUITE": what.suite or "",
        "ARCHIVE": archive.main,
        "SECURITY_ARCHIVE": archive.security,
        "KEYRING": str(archive.keyring),
        "PROXY": _apt_proxy(),
    }
    done = subprocess.run(
        [*_contained(), *command],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=environment,
        pass_fds=[lock],  # whatever outlives a killed build keeps the lock
        check=False,
    )
    if done.returncode:
        raise ImageError(_reason(name, log_path, archive))


def _reason(name: str, log_path: pathlib.Path, archive: Archive) -> str:
    text = log_path.read_text(errors="replace")
    if "No space left on device" in text:
        return f"image {name} could not be built: {log_path.parent} is full: make room or move ANTMEDIA_CACHE"
    lines = [line for line in text.splitlines() if line.strip()]
    if UNREACHABLE.search(text) and not lines[-1].startswith("jars: "):
        return (
            f"image {name} could not be built: {archive.main} did not give all that was asked for: check the network, "
            f"or name another Debian archive in {MIRROR_VARIABLE} (details: {log_path})"
        )
    return f"image {name} could not be built: {lines[-1] if lines else 'no message'} (details: {log_path})"


def _contained(*more: str) -> list[str]:
    """A prefix that gives a command its own mounts and processes; all of them end with it, and it with its caller."""
    return ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", *more, "--"]


@functools.cache
def _apt_proxy() -> str:
    if not shutil.which("apt-config"):
        return ""
    shell = subprocess.run(
        ["apt-config", "shell", "PROXY", "Acquire::http::Proxy"], capture_output=True, text=True, check=False
    )
    return "".join(shlex.split(shell.stdout)).removeprefix("PROXY=") or os.environ.get("http_proxy", "")


def _say(name: str, text: str, seconds: float) -> None:
    print(f"{seconds:7.1f} s  image {name}: {text}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab.images", description="Build the lab's host images.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="images to build if missing (default: all)")
    parser.add_argument("--list", action="store_true", help="list the images, build nothing")
    parser.add_argument("--prune", action="store_true", help="remove trees of older recipes that nothing mounts")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Builds the named images and prints their paths; 1 and one sentence on stderr when that fails."""
    options = _parser().parse_args(arguments)
    try:
        if options.list:
            for name in names():
                state = "built" if path(name).is_dir() else "not built"
                print(f"{name:24} {state:10} {' '.join(recipe(name).amis) or '-':24} {recipe(name).description}")
        elif options.prune:
            for tree in prune():
                print(tree)
        else:
            for name in options.names or names():
                print(ensure(name))
    except ImageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
