"""Translation of folders and data sets: tasks of a job, the process that does them, and resuming after a kill."""
