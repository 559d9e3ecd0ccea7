"""Settings that have to be made before scipy is imported."""

import os

# scikit-learn skips its check of array API inputs without it
os.environ["SCIPY_ARRAY_API"] = "1"
