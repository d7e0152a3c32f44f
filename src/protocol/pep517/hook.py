"""What flockstep asks of a Python interpreter, each in a child process of its own: `python -c THIS COMMAND ARGUMENTS`.

It is handed over as text, so there is no file of it that could be missing, torn or of another version. It uses the standard library
of CPython 3.9 and later only. Answers go to standard output where nothing foreign runs; where a backend runs (which prints as it
likes) into a file. Exit 3 and one line on standard error: refused, for that reason.
"""

import os
import sys


class Refused(Exception):
    """What is asked for cannot be done, in one line for the user."""


def interpreter():
    """Line 1: the executable; 2: where its packages are; 3: the one that environments are made of; 4: what a wheel may depend on."""
    import platform
    import sysconfig

    identity = [
        platform.python_implementation(),
        platform.python_version(),
        sys.implementation.cache_tag or "",
        sysconfig.get_config_var("SOABI") or "",
        sysconfig.get_platform(),
    ]
    print(sys.executable)
    print(sys.prefix)
    print(os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable))
    print(" ".join(identity))


def describe(archive):
    """Line 1: the directory that all of the archive is in; 2: pyproject, setup or neither; the rest: pyproject.toml."""
    with opened(archive) as tar:
        members = checked(tar)
        top = members[0].name.split("/")[0]
        names = {member.name: member for member in members if member.isfile()}
        pyproject = names.get(top + "/pyproject.toml")
        print(top)
        print("pyproject" if pyproject else "setup" if top + "/setup.py" in names else "neither")
        if pyproject:
            sys.stdout.flush()
            sys.stdout.buffer.write(tar.extractfile(pyproject).read())


def unpack(archive, directory):
    """Unpacks all of it, and prints the directory that it is in."""
    import tarfile

    with opened(archive) as tar:
        members = checked(tar)
        # Interpreters without the filter (before 3.9.17, 3.10.12, 3.11.4) have `checked` alone.
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        tar.extractall(directory, members=members, **safely)
        print(members[0].name.split("/")[0])


def opened(archive):
    import tarfile

    try:
        return tarfile.open(archive, "r:gz")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise Refused("it is no .tar.gz archive (%s)" % error)


def checked(tar):
    """The members, if all are in one directory and nothing could be written anywhere else."""
    import posixpath
    import tarfile
    import zlib

    try:
        members = tar.getmembers()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise Refused("the archive is damaged (%s)" % error)
    # Headers such as git's pax_global_header are no members; what is left must not be empty.
    tops = {member.name.split("/")[0] for member in members}
    if len(tops) != 1:
        raise Refused("a source distribution has one directory at its top, this archive has %d" % len(tops))
    top = tops.pop()

    def outside(path):
        path = posixpath.normpath(path)
        return path.startswith("/") or path.split("/")[0] in ("..", "") or path.split("/")[0] != top

    for member in members:
        if ".." in member.name.split("/") or outside(member.name) or "\\" in member.name:
            raise Refused("its member %r would be written outside" % member.name)
        if member.issym():
            target = posixpath.join(posixpath.dirname(member.name), member.linkname)
            if member.linkname.startswith("/") or outside(target):
                raise Refused("its link %r leads outside, to %r" % (member.name, member.linkname))
        elif member.islnk():
            if outside(member.linkname):
                raise Refused("its link %r leads outside, to %r" % (member.name, member.linkname))
        elif not (member.isfile() or member.isdir()):
            raise Refused("its member %r is neither file nor directory nor link" % member.name)
    return members


def environment(directory, *requirements):
    """Makes an environment in the directory, installs into it, and makes its scripts independent of where it lies."""
    import subprocess
    import venv

    # What pip and venv say belongs to what is shown of a failure.
    os.dup2(2, 1)
    venv.EnvBuilder(with_pip=bool(requirements), symlinks=True).create(directory)
    scripts = os.path.join(directory, "bin")
    if requirements:
        python = os.path.join(scripts, "python")
        pip = [python, "-I", "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--"]
        if subprocess.call(pip + list(requirements)):
            raise Refused("pip could not install " + ", ".join(requirements))
    # It is made in a temporary place and renamed: a script that named its interpreter by path would be broken then.
    for name in sorted(os.listdir(scripts)):
        path = os.path.join(scripts, name)
        if not os.path.islink(path) and os.path.isfile(path):
            relocate(path, os.fsencode(scripts))


def relocate(path, scripts):
    """Lets a script find the interpreter beside itself, if it names one in that directory."""
    with open(path, "rb") as file:
        lines = file.read().split(b"\n")
    if lines[0].startswith(b"#!") and scripts in lines[0]:
        body = lines[1:]
    elif lines[0] == b"#!/bin/sh" and b"exec" in lines[1] and scripts in lines[1]:
        body = lines[3:]
    else:
        return
    # The shell runs the second line and gets no further; to Python the second and third are a string.
    start = b"""#!/bin/sh\n'''exec' "$(dirname -- "$(realpath -- "$0")")/python" "$0" "$@"\n' '''"""
    with open(path, "wb") as file:
        file.write(b"\n".join([start] + body))


def get_requires(result, backend, *paths):
    """Writes what the backend needs besides `build-system.requires`, a line each; the hook is optional."""
    hook = getattr(loaded(backend, paths), "get_requires_for_build_wheel", None)
    answer(result, [line.strip() for line in hook()] if hook else [])


def build_wheel(result, directory, backend, *paths):
    """Builds the wheel into the directory and writes its name."""
    hook = getattr(loaded(backend, paths), "build_wheel", None)
    if hook is None:
        raise Refused("the backend %s has no build_wheel" % backend)
    answer(result, [hook(directory)])


def loaded(backend, paths):
    """The backend object of the tree in the working directory."""
    import importlib

    # What a backend prints goes to one place, in the order in which it is printed.
    sys.stdout.flush()
    os.dup2(2, 1)
    sys.argv[1:] = []
    tree = os.path.realpath(os.getcwd())
    for path in reversed(paths):
        path = os.path.realpath(path)
        if os.path.commonpath([tree, path]) != tree:
            raise Refused("backend-path leads outside of the tree, to %s" % path)
        sys.path.insert(0, path)
    module, _, attribute = backend.partition(":")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module + ".").startswith(error.name + "."):
            raise Refused("the backend %s is not installed; build-system.requires must name it" % backend)
        raise
    for name in filter(None, attribute.split(".")):
        found = getattr(found, name)
    return found


def answer(result, lines):
    if any("\n" in line for line in lines):
        raise Refused("the backend's answer has line breaks: %r" % (lines,))
    with open(result, "w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)


if __name__ == "__main__":
    # `-c` puts the working directory on the path, where a source tree's own modules would hide the real ones.
    if sys.path and sys.path[0] == "":
        del sys.path[0]
    commands = [interpreter, describe, unpack, environment, get_requires, build_wheel]
    try:
        {command.__name__: command for command in commands}[sys.argv[1]](*sys.argv[2:])
    except Refused as refusal:
        sys.exit(print(refusal, file=sys.stderr) or 3)
