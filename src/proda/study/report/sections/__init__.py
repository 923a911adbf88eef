"""The sections of the report, one file each: functions from the study's folder to blocks."""
