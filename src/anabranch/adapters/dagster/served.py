"""What `anabranch dagster dev` serves: the project of the working folder, as `definitions` shows it to Dagster.

Whatever is materialised in the web UI is a run of anabranch, on the branch that is at hand; there are no schedules and no
sensors, and none of the project's own I/O managers.
"""

from __future__ import annotations

import os

from anabranch.adapters.dagster.outbound import definitions

defs = definitions(os.environ.get("ANABRANCH_SERVED") or None)
