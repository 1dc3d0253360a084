"""What every Python process is before it does anything: configuration, log, health, metrics, errors, an orderly end.

Its manners are those of the Go processes; testdata/manners holds both to them. It knows nothing of the domain.
"""
