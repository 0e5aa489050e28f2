"""`python -m logtrick`: Bayesian variable selection by the log-derivative trick, beside the exact answer."""
