"""The folder of this machine where prepared and downloaded models are kept."""

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """Return the folder of what is kept between runs: ``$REELBEAM_CACHE``, else the user's cache folder."""
    return Path(os.environ.get("REELBEAM_CACHE") or platformdirs.user_cache_dir("reelbeam"))
