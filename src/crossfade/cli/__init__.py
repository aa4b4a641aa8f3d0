"""The command line, one file per verb; torch is imported only once a verb runs."""
