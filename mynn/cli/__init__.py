"""The commands, one a file: arguments only. `mynn_command.py` lists them."""
