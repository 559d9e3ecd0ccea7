"""Settings that have to be made before scipy and matplotlib are imported."""

import os

# scikit-learn skips its check of array API inputs without it
os.environ["SCIPY_ARRAY_API"] = "1"

# no test opens a window
os.environ["MPLBACKEND"] = "Agg"
