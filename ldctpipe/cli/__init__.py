"""The typer commands: parse, call one function, print. No logic, and no heavy import before a command runs."""
