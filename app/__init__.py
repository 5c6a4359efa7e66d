"""The service: run store, HTTP API, figures and command line. Never imports torch."""
