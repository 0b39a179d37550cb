"""What is run: the calls between two looks as one program, and what it gives."""
