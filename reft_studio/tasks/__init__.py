"""The functions that jobs run, one file per kind of job."""
