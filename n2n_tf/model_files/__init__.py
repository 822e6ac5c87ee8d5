"""Models on disk: everything that reads or writes one."""
