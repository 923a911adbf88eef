"""The sections of the report, one file each: a function from the study's folder to a Section."""
