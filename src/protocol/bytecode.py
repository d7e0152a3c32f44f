# Compiles the files that its arguments name. For each that cannot be compiled it writes a line: its place among the arguments, a tab,
# and why. How many there are does not change the exit code: that one is for what nobody expects.
import py_compile
import sys

for place, path in enumerate(sys.argv[1:]):
    try:
        py_compile.compile(path, doraise=True)
    except (py_compile.PyCompileError, OSError, UnicodeError, RecursionError, MemoryError) as error:
        reason = getattr(error, "exc_value", error)
        print(place, " ".join(f"{type(reason).__name__}: {reason}".split()), sep="\t")
