"""What a zero-shot data set is, and every way to get one."""
