"""A wheel or sdist works where nothing but pip is: ``python try_distribution.py FILE``.

It is installed in an environment of its own, outside of the clone. The first block of
the README runs there and prints what it shows, and mypy reads its types.
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from pages import ROOT, agree, read_blocks


def run(*command, folder):
    """Run a command in a folder, and return what it prints."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def try_distribution(path):
    """Install a file, run the first block and read the types."""
    first = read_blocks((ROOT / "README.md").read_text(encoding="utf-8"))[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "bare", with_pip=True)
        python = folder / "bare" / "bin" / "python"
        pins = ROOT / "constraints.txt"
        run(python, "-m", "pip", "install", "-q", "-c", pins, path, folder=folder)
        (folder / "block.py").write_text(first.code, encoding="utf-8")
        printed = run(python, "block.py", folder=folder)
        assert agree(first.output, printed), printed
        consumer = (ROOT / "tests" / "typed_consumer.py").read_text(encoding="utf-8")
        (folder / "consumer.py").write_text(consumer, encoding="utf-8")
        check = ["-m", "mypy", "--warn-unused-ignores", "--python-executable", python]
        print(run(sys.executable, *check, "consumer.py", folder=folder).strip())
    print(f"{path.name}: installed, printed {printed.strip()!r}, types were read")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        try_distribution(Path(name).resolve())
