"""Looking at a run: baselines, comparisons, plots."""
