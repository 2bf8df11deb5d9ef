"""The collector's libraries are an extra."""

import subprocess
import sys


def test_the_command_without_its_extra_says_what_to_install() -> None:
    """An import hook hides the library, as if only the base were installed."""
    program = (
        "import sys; sys.modules['sqlalchemy'] = None; sys.argv = ['microscope-collect', 'status']\n"
        "from collector.entry import main; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr
    assert "pip install -c constraints.txt '.[collector]'" in done.stderr
    assert "Traceback" not in done.stderr
