"""Where everything lies, and in which order it is computed."""
