"""What a user can ask of a protein, one family a file, and how it is compiled for an operator."""
