"""Drivers of the models: CLM history files, climate, covariates."""
