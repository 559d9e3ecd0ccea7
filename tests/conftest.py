"""Settings that have to be made before scipy, torch and matplotlib are imported."""

import os

# tests run side by side, a process for each core: a second thread would wait in vain
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# scikit-learn skips its check of array API inputs without it
os.environ["SCIPY_ARRAY_API"] = "1"

# no test opens a window
os.environ["MPLBACKEND"] = "Agg"
