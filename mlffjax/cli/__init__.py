"""The command line: one file per command, found by its name.

``main`` collects the commands: every module here but itself holds ``app``, a ``typer.Typer`` with
one command or one group of commands. Commands parse, delegate and print; what they delegate to is
imported when they run, so asking for help costs nothing. Errors raised on purpose become one
message on standard error.
"""
