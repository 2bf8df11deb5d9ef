"""What the rooms promise one another; imports `common` alone."""

import common  # noqa: F401 - sets what the libraries must be told before they are loaded
