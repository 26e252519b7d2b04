"""``python -m espdeploy``."""

import sys

from espdeploy.cli.main import main

sys.exit(main())
