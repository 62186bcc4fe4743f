"""Where files are kept: folders and object stores."""
