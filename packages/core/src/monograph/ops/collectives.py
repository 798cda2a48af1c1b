"""Communication between devices; trivial on one."""
