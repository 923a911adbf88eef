"""Data assimilation at sites: likelihoods, samplers, diagnostics and the runner."""
