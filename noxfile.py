# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sessions that check the collection. `make help` names the usual ways in; `nox --list` names all sessions.

Each session works on a copy of the checkout (what git tracks, and new files that it does not ignore) in a folder
`ansible_collections/community/paperspace`, since Ansible, ansible-test, mypy and the imports of tests go by that path.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import antsibull_nox
import nox

ROOT = Path(__file__).parent
WORK = ROOT / ".work"
REQUIREMENTS = ROOT / "tests" / "requirements"
STAGES = WORK / "stage"
if "ansible_collections" in ROOT.parts:
    # ansible-doc finds no roles where one such folder is in another.
    CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    STAGES = CACHE / "community.paperspace" / f"stage-{zlib.crc32(bytes(ROOT)):08x}"
RUNTIME_REQUIREMENTS = ROOT / "meta" / "ee-requirements.txt"
NAMESPACE, NAME = "community", "paperspace"

# Which Pythons each supported ansible-core runs under on the controller, oldest first.
CORES: dict[str, tuple[str, ...]] = {
    "2.16": ("3.10", "3.11", "3.12"),
    "2.17": ("3.10", "3.11", "3.12"),
    "2.18": ("3.11", "3.12", "3.13"),
    "2.19": ("3.11", "3.12", "3.13"),
    "2.20": ("3.12", "3.13", "3.14"),
    "2.21": ("3.12", "3.13", "3.14"),
}
OLDEST_CORE, *dummy, NEWEST_CORE = CORES
CURRENT_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

nox.needs_version = ">=2025.5.1"
nox.options.envdir = str(WORK / "nox")
nox.options.default_venv_backend = os.environ.get("NOX_DEFAULT_VENV_BACKEND", "uv|virtualenv")
nox.options.reuse_venv = "yes"
nox.options.error_on_external_run = True
# A session whose interpreter is not on the machine is skipped by name, in CI too.
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"

# All Pythons that pyenv keeps are on the machine: its own commands for them only run those that it is set to.
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
os.environ["PATH"] = os.pathsep.join(
    [path for path in os.environ["PATH"].split(os.pathsep) if Path(path) != PYENV / "shims"]
    + sorted(map(str, (PYENV / "versions").glob("*/bin")))
)


def newest_core(python: str) -> str:
    """The newest supported ansible-core that runs under this Python."""
    return next((core for core in reversed(CORES) if python in CORES[core]), list(CORES)[-1])


# The ansible-core versions to test with: `CORE=all`, `CORE="2.16 2.21"`, or by default one.
DEFAULT_CORE = newest_core(CURRENT_PYTHON)
ASKED_FOR = os.environ.get("CORE", "").split()
WANTED = ASKED_FOR or [DEFAULT_CORE]
TESTED_CORES = list(CORES) if WANTED == ["all"] else WANTED
if not set(TESTED_CORES) <= set(CORES):
    sys.exit(f"CORE takes 'all', or some of: {' '.join(CORES)}")

# A whole run of the end-to-end tests takes long: of all versions the oldest, the newest and one between have to do.
E2E_CORES = [core for core in TESTED_CORES if WANTED != ["all"] or core in ("2.16", "2.19", "2.21")]
# The oldest and the newest are at least tried in every run.
SMOKE_CORES = [core for core in (OLDEST_CORE, NEWEST_CORE) if core not in TESTED_CORES]


def python_for(core: str) -> str:
    """The Python to test this ansible-core with.

    The oldest version goes with the oldest Python on the machine that it supports, and the newest with the newest.
    Those between, and the version that is tested when none is asked for, go with the Python that runs nox if they can.
    """
    there = [python for python in CORES[core] if shutil.which(f"python{python}")] or list(CORES[core])
    if core in (OLDEST_CORE, NEWEST_CORE) and (ASKED_FOR or core != DEFAULT_CORE):
        return there[0 if core == OLDEST_CORE else -1]
    return CURRENT_PYTHON if CURRENT_PYTHON in CORES[core] else there[0]


def with_cores(cores: list[str]) -> Any:
    """A session for each of these versions of ansible-core, under a Python that it supports."""
    return nox.parametrize(
        ("python", "core"), [nox.param(python_for(core), core, id=f"ansible-{core}") for core in cores]
    )


each_core = with_cores(TESTED_CORES)


def core_requirement(core: str) -> str:
    return f"ansible-core=={core}.*"


def install(session: nox.Session, *requirements: str, constrained: bool = True) -> None:
    """Install requirements, `name.txt` being a file in tests/requirements, as constraints.txt there pins them."""
    arguments: list[str] = []
    for requirement in requirements:
        arguments += ["-r", str(REQUIREMENTS / requirement)] if requirement.endswith(".txt") else [requirement]
    constraints = ["-c", str(REQUIREMENTS / "constraints.txt")] if constrained else []
    session.install(*arguments, *constraints, silent=True)


def stage(session: nox.Session) -> Path:
    """Copy the checkout to where Ansible expects a collection, a folder for each session, and return that folder."""
    root = STAGES / Path(session.virtualenv.location).name
    collection = root / "ansible_collections" / NAMESPACE / NAME
    shutil.rmtree(root, ignore_errors=True)
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    for path in filter(None, listed.stdout.split("\0")):
        source, target = ROOT / path, collection / path
        # A tracked file that was deleted and not committed yet is still listed.
        if source.exists() or source.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    return collection


def collections_root(collection: Path) -> Path:
    return collection.parents[2]


def environment(collection: Path) -> dict[str, str | None]:
    """The environment for Ansible and Python to find the staged collection, and for no test to find a real API key."""
    root = collections_root(collection)
    empty_configuration = root / "ansible.cfg"
    empty_configuration.touch()
    return {
        "ANSIBLE_COLLECTIONS_PATH": str(root),
        "ANSIBLE_CONFIG": str(empty_configuration),
        "ANSIBLE_HOME": str(root / "ansible_home"),
        "PYTHONPATH": str(root),
        "PAPERSPACE_API_KEY": None,
        "PAPERSPACE_API_URL": None,
    }


def pytest(session: nox.Session, folder: str, *options: str) -> None:
    collection = stage(session)
    with session.chdir(collection):
        arguments = [*options, *(session.posargs or [folder])]
        session.run("python", "-m", "pytest", *arguments, env=environment(collection))


# The first one, since it takes longest.
@nox.session
@with_cores(E2E_CORES)
def e2e(session: nox.Session, core: str) -> None:
    """Real guarded maintenances that break, three at a time, each on simulated machines of its own."""
    install(session, core_requirement(core), "e2e.txt")
    # They wait more than they work.
    pytest(session, "tests/e2e", "--numprocesses=3", "--dist=worksteal")


@nox.session
def guides(session: nox.Session) -> None:
    """Every command and playbook of the documentation, two pages at a time, each with a simulator of its own."""
    install(session, core_requirement(DEFAULT_CORE), "guides.txt")
    pytest(session, "tests/guides", "--numprocesses=2", "--dist=worksteal")


@nox.session
@each_core
def integration(session: nox.Session, core: str) -> None:
    """Real `ansible-playbook` runs, two at a time, each against a simulator of its own."""
    install(session, core_requirement(core), "integration.txt")
    pytest(session, "tests/integration", "--numprocesses=2", "--dist=loadfile")


@nox.session
@each_core
def sanity(session: nox.Session, core: str) -> None:
    """`ansible-test sanity`, without containers."""
    install(session, core_requirement(core))
    collection = stage(session)
    # ansible-test asks git which files there are.
    session.run("git", "init", "--quiet", str(collection), external=True)
    arguments = session.posargs or ["--color", "no"]
    with session.chdir(collection):
        session.run("python", str(ROOT / "tools" / "sanity.py"), *arguments)


@nox.session
@each_core
def unit(session: nox.Session, core: str) -> None:
    """Unit tests, the simulator's conformance to the contract among them."""
    install(session, core_requirement(core), "unit.txt")
    pytest(session, "tests/unit")


if SMOKE_CORES:

    @nox.session
    @with_cores(SMOKE_CORES)
    def smoke(session: nox.Session, core: str) -> None:
        """What depends most on the version of ansible-core, with the oldest and the newest."""
        install(session, core_requirement(core), "e2e.txt", "unit.txt")
        # They wait more than they work.
        pytest(session, "tests", "-m", "smoke", "--numprocesses=2", "--dist=loadfile")


@nox.session
def browser(session: nox.Session) -> None:
    """The page of a run's report, looked at in a headless Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    if not any(map(shutil.which, names)):
        session.skip(f"There is no Chromium on this machine: none of {', '.join(names)}")
    install(session, core_requirement(DEFAULT_CORE), "browser.txt")
    pytest(session, "tests/browser")


@nox.session
def eda(session: nox.Session) -> None:
    """The event source in a real ansible-rulebook, against the simulator."""
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        session.skip("There is no Java on this machine, which ansible-rulebook needs")
    install(session, core_requirement(DEFAULT_CORE), "eda.txt")
    pytest(session, "tests/integration/test_event_driven.py")


# On Python 3.10, if that is there: only there all of meta/ee-requirements.txt counts.
@nox.session(name="unit-oldest-requests", python=python_for(OLDEST_CORE))
def unit_oldest_requests(session: nox.Session) -> None:
    """Unit tests of what uses `requests` and `tomli` with the oldest that meta/ee-requirements.txt admits."""
    install(session, core_requirement(OLDEST_CORE), "unit.txt")
    lower_bounds = [line.replace(">=", "==") for line in RUNTIME_REQUIREMENTS.read_text().splitlines() if ">=" in line]
    install(session, *lower_bounds, constrained=False)
    pytest(session, "tests/unit/plugins/module_utils", "-k", "transport or tls or client or connection or wire or info")


@nox.session(name="ansible-lint")
def ansible_lint(session: nox.Session) -> None:
    """ansible-lint at profile production."""
    install(session, core_requirement(DEFAULT_CORE), "ansible-lint.txt")
    collection = stage(session)
    session.run("git", "init", "--quiet", str(collection), external=True)
    with session.chdir(collection):
        session.run("ansible-lint", "--offline", "--profile", "production", env=environment(collection))


@nox.session
def lint(session: nox.Session) -> None:
    """ruff, mypy and yamllint."""
    install(session, core_requirement(DEFAULT_CORE), "lint.txt")
    collection = stage(session)
    # Both roots of imports, the collection's and that of the package `simulator`.
    root = collections_root(collection)
    mypy_path = f"{root}:{collection / 'tests'}"
    folders = (collection / "plugins", collection / "extensions", collection / "tests" / "simulator")
    typed = [str(path) for path in folders if any(path.rglob("*.py"))]
    mypy = ["mypy", "--config-file", str(collection / "pyproject.toml"), "--cache-dir", str(WORK / "mypy_cache")]
    commands: list[tuple[Path, list[str]]] = [
        (collection, ["ruff", "check", "."]),
        (collection, ["ruff", "format", "--diff", "."]),
        (collection, ["yamllint", "--strict", "."]),
        (collection, ["codespell"]),
        # The current folder is a root of imports too.
        (root, [*mypy, *typed]),
    ]
    failed = []
    for folder, command in commands:
        with session.chdir(folder):
            try:
                session.run(*command, env={"MYPYPATH": mypy_path})
            except nox.command.CommandFailed:
                failed.append(" ".join(command[:2]))
    if failed:
        session.error(f"Failed: {', '.join(failed)}")


@nox.session
def docs(session: nox.Session) -> None:
    """antsibull-docs on the documentation of the collection, its plugins and roles."""
    install(session, core_requirement(DEFAULT_CORE), "docs.txt", str(RUNTIME_REQUIREMENTS))
    collection = stage(session)
    # antsibull-docs copies what git lists, and the stage lies in a folder that the checkout ignores.
    session.run("git", "init", "--quiet", str(collection), external=True)
    with session.chdir(collection):
        session.run(
            "antsibull-docs",
            "lint-collection-docs",
            "--plugin-docs",
            "--skip-rstcheck",
            "--validate-collection-refs=dependent",
            "--disallow-unknown-collection-refs",
            "--check-extra-docs-refs",
            ".",
            env=environment(collection),
        )


@nox.session(name="docs-site")
def docs_site(session: nox.Session) -> None:
    """The documentation site, in .work/docs: antsibull-docs writes the pages, and Sphinx makes HTML of them."""
    install(session, core_requirement(DEFAULT_CORE), "docs.txt", str(RUNTIME_REQUIREMENTS))
    collection = stage(session)
    session.run("git", "init", "--quiet", str(collection), external=True)
    pages, site = collections_root(collection) / "pages", WORK / "docs"
    # antsibull-docs refuses a folder that others may write to.
    pages.mkdir(mode=0o755)
    session.run(
        *("antsibull-docs", "collection", "--use-current", "--squash-hierarchy", "--fail-on-error"),
        *("--no-add-antsibull-docs-version", "--dest-dir", str(pages), f"{NAMESPACE}.{NAME}"),
        env=environment(collection),
    )
    shutil.rmtree(site, ignore_errors=True)
    session.run(
        *("sphinx-build", "--builder", "html", "--fail-on-warning", "--keep-going", "--quiet", "--fresh-env"),
        *("--conf-dir", str(collection / "docs" / "site"), "--doctree-dir", str(pages.parent / "doctrees")),
        *(str(pages), str(site)),
    )
    session.log(f"The site is in {site}: open index.html there.")


# Not in a user's `make test`: what becomes known of a dependency is nothing that the user could mend.
@nox.session(default=bool(os.environ.get("CI")))
def audit(session: nox.Session) -> None:
    """Known vulnerabilities of the dependencies, as far as the advisory service can be asked."""
    install(session, "audit.txt", "uv.txt")
    # What constraints.txt leaves out: ansible-core, and what the session `galaxy` installs without it.
    wanted, found = (Path(session.create_tmp()) / name for name in ("wanted.txt", "found.txt"))
    wanted.write_text(f"{core_requirement(DEFAULT_CORE)}\n-r {REQUIREMENTS / 'galaxy.txt'}\n")
    session.run(
        *("uv", "pip", "compile", "--quiet", "--upgrade", "--no-header", "--no-annotate"),
        *("--python-version", CURRENT_PYTHON, "--output-file", str(found), str(wanted)),
        env={"UV_PYTHON_DOWNLOADS": "never"},
    )
    session.run("python", str(ROOT / "tools" / "audit.py"), str(REQUIREMENTS / "constraints.txt"), str(found))


@nox.session
def changelog(session: nox.Session) -> None:
    """antsibull-changelog on the fragments, and that CHANGELOG.md is what it makes of changelogs/changelog.yaml."""
    install(session, core_requirement(DEFAULT_CORE), "changelog.txt")
    collection = stage(session)
    with session.chdir(collection):
        session.run("antsibull-changelog", "lint", env=environment(collection))
        committed = (collection / "CHANGELOG.md").read_bytes()
        session.run("antsibull-changelog", "generate", env=environment(collection))
        if (collection / "CHANGELOG.md").read_bytes() != committed:
            session.error("CHANGELOG.md is not what antsibull-changelog generate makes.")


def build_and_install(session: nox.Session, collection: Path, collections: Path, *, silent: bool = False) -> Path:
    """Build the tarball as for Galaxy, install it under `collections`, and return the tarball."""
    environ = {**environment(collection), "ANSIBLE_COLLECTIONS_PATH": str(collections)}
    output = collections_root(collection) / "tarball"
    session.run(
        *("ansible-galaxy", "collection", "build", "--force", "--output-path", str(output), str(collection)),
        env=environ,
        silent=silent,
    )
    [tarball] = output.glob("*.tar.gz")
    session.run(
        *("ansible-galaxy", "collection", "install", "--force", "--offline", "-p", str(collections), str(tarball)),
        env=environ,
        silent=silent,
    )
    return tarball


@nox.session
def package(session: nox.Session) -> None:
    """Build the collection, check what is in the tarball, install it, and load its plugins from there."""
    install(session, core_requirement(DEFAULT_CORE), "requests")
    collection = stage(session)
    collections = collections_root(collection) / "installed"
    tarball = build_and_install(session, collection, collections)
    environ = {**environment(collection), "ANSIBLE_COLLECTIONS_PATH": str(collections), "PYTHONPATH": None}
    session.run("python", str(ROOT / "tools" / "check_package.py"), str(tarball), str(collections), env=environ)


@nox.session
def galaxy(session: nox.Session) -> None:
    """What Galaxy's importer and ansible-builder make of the tarball."""
    install(session, core_requirement(DEFAULT_CORE), "galaxy.txt", constrained=False)
    collection = stage(session)
    collections = collections_root(collection) / "installed"
    tarball = build_and_install(session, collection, collections)
    environ = {**environment(collection), "ANSIBLE_COLLECTIONS_PATH": None, "PYTHONPATH": None}
    session.run("python", str(ROOT / "tools" / "check_galaxy.py"), str(tarball), str(collections), env=environ)


def run_demo(session: nox.Session, *recorder: str) -> None:
    """The demonstration, with the collection installed from its tarball and the simulator of the checkout."""
    collection = stage(session)
    collections = collections_root(collection) / "installed"
    build_and_install(session, collection, collections, silent=True)
    environ = {
        **environment(collection),
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "PYTHONPATH": str(collection / "tests"),
    }
    with session.chdir(collection):
        session.run("python", *recorder, "tests/demo/run.py", env=environ)


@nox.session
def demo(session: nox.Session) -> None:
    """The demonstration: the collection, installed from its tarball, saves simulated machines that break."""
    install(session, core_requirement(DEFAULT_CORE), "simulator.txt", "requests")
    run_demo(session)


@nox.session(default=False)
def recording(session: nox.Session) -> None:
    """Make docs/demo.svg anew, which the README shows, from a run of the demonstration."""
    install(session, core_requirement(DEFAULT_CORE), "recording.txt", "requests")
    run_demo(session, str(ROOT / "tools" / "record_demo.py"), str(ROOT / "docs" / "demo.svg"), "python")


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """What the collection costs, beside what people do without it and the least that the API needs."""
    install(session, core_requirement(DEFAULT_CORE), "bench.txt")
    collection = stage(session)
    with session.chdir(collection):
        session.run(
            *("python", "tests/benchmarks/run.py", "--output", str(WORK / "bench"), *session.posargs),
            env=environment(collection),
        )


@nox.session(default=False, name="format")
def format_files(session: nox.Session) -> None:
    """Let ruff put the Python files of the checkout in order."""
    install(session, "ruff")
    session.run("ruff", "check", "--fix-only", ".")
    session.run("ruff", "format", ".")


@nox.session(default=False)
def pins(session: nox.Session) -> None:
    """Pin anew what the files in tests/requirements name, for every Python that the collection supports."""
    session.install("uv")
    sources = sorted(path for path in REQUIREMENTS.glob("*.txt") if path.name not in ("constraints.txt", "galaxy.txt"))
    # ansible-core is what the sessions vary, and resolvelib goes with its version.
    unpinned = [option for name in ("ansible-core", "resolvelib") for option in ("--no-emit-package", name)]
    output = REQUIREMENTS / "constraints.txt"
    session.run(
        *("uv", "pip", "compile", "--quiet", "--universal", "--upgrade", "--python-version", "3.10"),
        *("--no-header", "--no-annotate", *unpinned, "--output-file", str(output), *map(str, sources)),
        env={"UV_PYTHON_DOWNLOADS": "never"},
    )
    licence = "".join((REQUIREMENTS / "uv.txt").read_text().splitlines(keepends=True)[:2])
    output.write_text(f"{licence}\n# Written by `make pins`.\n{output.read_text()}")


# license-check and extra-checks.
antsibull_nox.load_antsibull_nox_toml()
