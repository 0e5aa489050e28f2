"""Published experiments on gradient estimators, one file each."""
