"""The batch service: an HTTP API through which users submit jobs that run with their own identity."""
